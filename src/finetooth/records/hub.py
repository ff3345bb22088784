"""Rows of data sets on the hub, or in the caches that the hub's own software keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

from finetooth.config import DataConfig
from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.records import bytestream
from finetooth.records.jsonstream import RowAt
from finetooth.records.wording import closest, excerpt, listed

_SCHEME = "hf://datasets/"
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_ADDRESS = re.compile(rf"{_SCHEME}(?P<id>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<files>.+))?")


def is_hub_id(source: str) -> bool:
    """Return whether a source that is no path names a data set on the hub: `owner/name` or `hf://datasets/…`."""
    return (_ADDRESS if source.startswith(_SCHEME) else _ID).fullmatch(source) is not None


def hub_rows(source: str, config: DataConfig) -> Iterator[RowAt]:
    """Yield the rows of one split; `where` counts them from 0.

    Args:
        source: `owner/name`, or `hf://datasets/owner/name[@revision][/files]`.
        config: Its `split`, `name` and `revision` are used.
    """
    datasets = bytestream.need("datasets", say("records.purpose_hub"))
    repository, revision, files = source, config.revision, None
    address = _ADDRESS.fullmatch(source)
    if address is not None:
        repository, files = address["id"], address["files"]
        revision = address["revision"] or revision
    options = {"name": config.name, "revision": revision, "data_files": files}
    rows = iter(_split(datasets, source, repository, config.split, options))
    for index in count():
        place = f"{source}[{index}]"
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as caught:  # readers of a dozen formats and the network lie behind this
            raise DataError(
                say("records.hub_row", reason=_reason(caught)), where=place, help=say("records.fetch_again")
            ) from caught
        yield row, place


def _split(datasets: Any, source: str, repository: str, split: str, options: dict[str, Any]) -> Any:
    """Return the split, streamed where it can be."""
    if "[" in split or "+" in split:
        # Slices and sums of splits exist for data on disk alone.
        return _loaded(datasets, source, repository, {**options, "split": split})
    try:
        splits = _loaded(datasets, source, repository, {**options, "streaming": True})
    except NotImplementedError:  # a format that cannot be streamed, such as .tgz
        splits = _loaded(datasets, source, repository, options)
    if split not in splits:
        best = closest(split, splits) or next(iter(splits))
        raise DataError(
            say("records.hub_split", split=split, splits=listed(splits)),
            where=source,
            help=f"--set data.split={best}",
        )
    # Images and sound stay bytes: such rows are refused by name, and decoding them needs further software.
    return splits[split].decode(False) if hasattr(splits[split], "decode") else splits[split]


def _loaded(datasets: Any, source: str, repository: str, options: dict[str, Any]) -> Any:
    try:
        try:
            if options["revision"] is not None:
                _refuse_other_revision(datasets, repository, options)
            return datasets.load_dataset(repository, **options)
        except ConnectionError:
            # datasets looks for what it prepared itself, and not into the cache that `hf download` fills.
            folder = _snapshot(repository, options["revision"])
            if folder is None:
                raise
            return datasets.load_dataset(folder, **{**options, "revision": None})
    except NotImplementedError:
        raise
    except ConnectionError as caught:
        raise DataError(
            say("records.hub_offline", repository=repository),
            where=source,
            help=f"hf download {repository} --repo-type dataset",
        ) from caught
    except FileNotFoundError as caught:  # DatasetNotFoundError is one
        raise DataError(
            say("records.hub_missing", repository=repository, reason=_reason(caught)),
            where=source,
            help=say("records.hub_missing_help"),
        ) from caught
    except Exception as caught:  # load_dataset's errors are of many kinds
        raise DataError(
            say("records.hub_failed", repository=repository, reason=_reason(caught)), where=source, help=_remedy(caught)
        ) from caught


def _refuse_other_revision(datasets: Any, repository: str, options: dict[str, Any]) -> None:
    """Raise where datasets would fall back on what it has prepared before, of which it knows no revision."""
    chosen = {name: options[name] for name in ("name", "revision", "data_files")}
    builder = datasets.load_dataset_builder(repository, **chosen)
    if type(builder).__module__ == "datasets.packaged_modules.cache.cache":
        raise ConnectionError(f"{repository} at {options['revision']} is not at hand")


def _remedy(caught: Exception) -> str:
    """Return the setting that names the first split or configuration of those that an error of datasets lists."""
    text = str(caught)
    # A list, or the example of a call: "Available: ['a', 'b']", "load_dataset('owner/name', 'a')".
    found = re.search(r"\['([^']+)'", text) or re.search(r"load_dataset\('[^']+', '([^']+)'\)", text)
    if found is not None and "plit" in text:
        return f"--set data.split={found[1]}"
    if found is not None and "onfig" in text:
        return f"--set data.name={found[1]}"
    return say("records.hub_missing_help")


def _snapshot(repository: str, revision: str | None) -> str | None:
    """Return the folder of a downloaded data set in the hub's cache, or `None`."""
    hub = bytestream.need("huggingface_hub", say("records.purpose_hub"))
    try:
        folder: str = hub.snapshot_download(repository, repo_type="dataset", revision=revision, local_files_only=True)
    except (OSError, ValueError):
        return None
    return folder


def _reason(caught: Exception) -> str:
    text = str(caught).strip() or type(caught).__name__
    return excerpt(" ".join(text.split()), width=300)
