"""What a check found, written for people and for programs.

report       what every format takes of a report, and which findings follow from which
wording      numbers, endings and evidence in words
place        a finding's place as a file and a line
view         the tokens at a place, taken apart
text         for a terminal
jsonlines    one JSON object a finding
github       workflow commands, which GitHub shows beside the lines of a pull request
sarif        SARIF 2.1.0, for code scanning
markdown     for comments
html         a page that needs nothing but itself
baseline     findings that are known, and are not told again
documentation  a rule's own page

`text`, `markdown` and `html` speak the language in force. `jsonlines`, `github` and `sarif` say nothing of their own;
the sentences in a report were made when it was: whoever writes these formats sets English before checking.
Every `render` yields pieces to be written one after the other, line breaks included.
"""
