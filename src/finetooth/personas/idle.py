"""Idle talk: the words of questions and greetings, in which nobody asks for anything in particular."""

from __future__ import annotations

_ENGLISH = """
a an the and or but if so of to in on at by for from with as about into than then
i me my mine you your yours he him his she her hers it its we us our they them their this that these those there here
is am are was were be been being do does did done have has had having will would shall should can could may might must
not no yes what which who whom whose when where why how any some all many much more most very quite really just only
too also ever never always please tell say said know think like get got go going let
don doesn isn aren wasn won couldn wouldn good well thing lot
"""

_JAPANESE = """
何が 何を 何に 何か 何です 何でも 何て 何の 何歳 何人 何時 誰が 誰に 誰と 誰です どんな人 人は 人です 人が 人と 人に
どこに どこで どこへ どこか いつですか いつか どれ どちら どう思いますか どうやって どうして どんな
私は 私の 私に 私が あなたは あなたの 君は 君の 僕は 俺は 今は 今日は 今日の 今の 明日は 昨日は
たことはありますか たことがあります たことはある にとって 好きですか 好きな 好きで 好き
ありますか いますか しますか ですか でしょうか ましたか ますか ませんか
紹介してください 紹介して してください 教えてください 教えて
話してください 聞かせて
ください について という とき こと もの ところ から まで より
思う 思って 言う 言って 見る 行く 行って 来る する して した できる できます
こんにちは おはようございます ありがとうございます ごめんなさい すみません
をしています がしています はしています にしています をしていました ています ていました ている ていた ていない
をします をしました をする をした をして になります になりました になった になる になりたい ましょう でした だった
ません ないです なかった たかった かもしれません でしょう のです のでしょう そうです ような ように
いいですか いいね よね だよね なの なんだ なんです だって けど だけど 一番 最近 本当に とても 少し ちょっと
"""

IDLE_TALK: tuple[str, ...] = tuple(f"{_ENGLISH} {_JAPANESE}".split())
"""Words whose terms say nothing of what is asked. Short phrases, since a tokenizer cuts a word as its company is."""
