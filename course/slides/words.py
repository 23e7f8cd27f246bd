"""What of a lesson's text can be read from the back row, and what is for the instructor to say.

A slide takes a text's paragraphs, lists and equations from the top, or from the words that lead to its equation, until
it is full; what ends in a colon brings on what follows. A paragraph that is too long ends after its last sentence that
fits, and so does each item of a long list.
"""

import re

OF_A_SLIDE, OF_A_PARAGRAPH, OF_A_LIST, OF_AN_ITEM, OF_ANSWERS = 70, 55, 90, 36, 125  # words

_FENCE = re.compile(r"^```.*?^```[^\n]*$", re.DOTALL | re.MULTILINE)
_FOLD = re.compile(r"<details>\s*<summary>(?P<label>.*?)</summary>(?P<text>.*?)</details>", re.DOTALL)
_LINK = re.compile(r"(?<!!)\[(?P<words>[^\]]*)\]\((?P<target>[^)\s]*)\)")
_HTML_LINK = re.compile(r"<a\b[^>]*>(.*?)</a>", re.DOTALL)
_ABBREVIATED = r"(?<!\bal\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\b[Ff]ig\.)(?<!\b[Ss]ec\.)(?<!\b[Ee]q\.)(?<!\bvs\.)"
_END = re.compile(rf"(?<=[.!?:]){_ABBREVIATED}\s+(?=[^\sa-z(]|\([A-Z])|(?<=[.!?:]\*\*)\s+")  # between two sentences
_ITEM = re.compile(r"^(?:[-*]|\d+\.) ", re.MULTILINE)
_GUESS = re.compile(r"\*\*Guess:\*\*\s*(?P<words>\S.*)", re.DOTALL)


def without_links(text: str, keep_addresses: bool = False) -> str:
    """A text with the words of its links alone; those to the web are kept if asked for."""

    def words(link: re.Match[str]) -> str:
        return link[0] if keep_addresses and "://" in link["target"] else link["words"]

    text = _LINK.sub(words, text)
    return text if keep_addresses else _HTML_LINK.sub(r"\1", text)


def unfolded(text: str) -> str:
    """A text whose folds are paragraphs that begin with their label in bold."""
    return _FOLD.sub(lambda fold: f"\n\n**{fold['label'].strip()}** {fold['text'].strip()}\n\n", text)


def heading_and_rest(text: str) -> tuple[str, str]:
    """A text and the heading that it begins with; the heading is empty if there is none."""
    found = re.match(r"#+ +(?P<heading>[^\n]+)\n*", text)
    return (found["heading"].strip(), text[found.end() :].strip()) if found else ("", text.strip())


def parts(text: str) -> list[tuple[str, str]]:
    """The parts of a text that open with a heading of the second level: heading and text."""
    starts = [found.start() for found in re.finditer("^## ", text, re.MULTILINE)]
    return [heading_and_rest(text[start:end]) for start, end in zip(starts, [*starts, len(text)][1:], strict=True)]


def blocks(text: str) -> list[str]:
    """The paragraphs, lists, tables, equations and fences of a text, without what is folded."""
    fences: list[str] = []

    def put_aside(fence: re.Match[str]) -> str:
        fences.append(fence[0])
        return f"\0{len(fences) - 1}"

    plain = _FENCE.sub(put_aside, _FOLD.sub("", text))
    found = [block.strip("\n") for block in re.split(r"\n\s*\n", plain) if block.strip()]
    return [fences[int(block[1:])] if block.startswith("\0") else block for block in found]


def count(text: str) -> int:
    """Words to read. An equation is one, whatever it is written with; a table's lines are none."""
    text = re.sub(r"(\$\$?)[^$]+\1", "equation", text)
    return len(re.sub(r"\|[\s:|-]*", " ", text).split())


def shortened(text: str, most: int) -> str:
    """The first sentences that fit, at least one."""
    kept = ""
    for end in [*(found.start() for found in _END.finditer(text)), len(text)]:
        if text[:end].count("(") > text[:end].count(")"):
            continue
        if kept and count(text[:end]) > most:
            break
        kept = text[:end]
    if kept == text or not kept.rstrip("*").endswith(":"):
        return kept
    marks = kept[len(kept.rstrip("*")) :]
    return f"{kept.rstrip('*')[:-1].rstrip()}.{marks}"


def last_sentences(text: str, most: int) -> str:
    """The last sentences that fit, at least one."""
    starts = [0, *(found.end() for found in _END.finditer(text))]
    return text[next((start for start in starts if count(text[start:]) <= most), starts[-1]) :]


def projected(text: str) -> str:
    """What a slide shows of a text, as Markdown. `text` comes without its heading."""
    found = blocks(without_links(text))
    shown: list[str] = []
    equations = [number for number, block in enumerate(found) if block.startswith("$$")]
    for block in map(_short, found[max(0, min(equations, default=0) - 1) :]):
        if shown and not shown[-1].endswith(":") and count("\n\n".join([*shown, block])) > OF_A_SLIDE:
            break
        shown.append(block)
    return "\n\n".join(shown)


def numbered(texts: list[str], first: int = 1) -> str:
    """Texts as the items of a numbered list, a line each."""
    return "\n".join(f"{number}. {' '.join(text.split())}" for number, text in enumerate(texts, start=first))


def guessed(text: str) -> str:
    """The question that a text asks after a bold "Guess:"; empty if it asks none there."""
    for block in reversed(blocks(without_links(text))):
        if (found := _GUESS.search(block)) and "?" in found["words"]:
            asked = found["words"].strip()
            return shortened(asked[0].upper() + asked[1:], OF_A_PARAGRAPH)
    return ""


def leads_to_guess(text: str) -> str:
    """The end of a text whose last paragraph asks for a guess in other words: "**Guess** its share.", or a question."""
    above, last = ["", "", *blocks(without_links(text))][-2:]
    if "**Guess" not in last and not last.endswith("?"):
        return ""
    if _ITEM.match(last):
        return f"{last_sentences(above, OF_A_PARAGRAPH)}\n\n{last}"
    return last_sentences(last.removesuffix("**Guess:**").rstrip(), OF_A_PARAGRAPH)


def task(text: str) -> str:
    """What a text asks the learner to do: from the paragraph that says "Your turn" on, else its last paragraph."""
    found = blocks(without_links(text))
    start = next((number for number, block in enumerate(found) if "**Your turn" in block), len(found) - 1)
    return projected("\n\n".join(found[start:]))


def questions(text: str) -> list[tuple[str, str]]:
    """The questions of a lesson's end and their answers, each folded below its question or with it as the label."""
    found, end = [], 0
    for fold in _FOLD.finditer(text):
        above = text[end : fold.start()].replace("**", "")
        asked = " ".join((above if fold["label"].strip() == "Answer" else fold["label"]).split())
        found.append((re.sub(r"^\d+\.\s*", "", asked), fold["text"].strip()))
        end = fold.end()
    return found


def _short(block: str) -> str:
    """A block as it is projected: tables, equations and code whole, what is read to its first sentences."""
    if block.startswith(("|", "```", "$$", "<")):
        return block
    if not _ITEM.match(block):
        return shortened(block, OF_A_PARAGRAPH)
    if count(block) <= OF_A_LIST:
        return block
    starts = [found.start() for found in _ITEM.finditer(block)]
    items = [block[start:end].strip() for start, end in zip(starts, [*starts, len(block)][1:], strict=True)]
    return "\n".join(shortened(item, OF_AN_ITEM) for item in items)
