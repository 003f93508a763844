"""Our captions say what the label says, in many ways, in correct English, and mirror as the motion does."""

import random
import re

import pytest

from dataset.prepare.captions import CONTENTS, NAMES, STYLES, TAGS, captions, mirror_caption, mirror_content, tag

LEFT = [content for content in CONTENTS if "left" in content]
LEFT_WORD, RIGHT_WORD = re.compile(r"\bleft(wards?)?\b"), re.compile(r"\bright(wards?)?\b")


def some(content, style="normal", count=100, seed=0):
    return captions(content, style, count, random.Random(seed))


def everything():
    """A few captions of every label, one list."""
    return [line for content in CONTENTS for style in STYLES for line in some(content, style, 12)]


def verb_of(phrase):
    """The first verb of a phrase with what follows it, marks aside: what makes one wording differ from another."""
    return re.sub(r"\(.*?\)|<.*?>", "", phrase).split(" and ")[0].strip()


def test_the_labels_of_the_data_are_all_there():
    assert len(CONTENTS) == 24
    styles = "normal happy sad angry proud not-confident masculinity masculine feminine childish old elderly tired"
    assert set(STYLES) == {*styles.split(), "exhausted", "active", "musical", "giant", "chimpira", "youthful"}
    assert {content.replace("right", "left") for content in CONTENTS} == set(NAMES)


@pytest.mark.parametrize("content", CONTENTS)
def test_every_content_has_many_captions_and_many_verbs(content):
    for style in ("normal", "elderly"):
        lines = some(content, style, 200)
        assert len(set(lines)) == len(lines) == 200
    assert len({verb_of(phrase) for phrase in CONTENTS[content]}) >= 12
    assert len(set(re.findall(r"\{([\w-]+)\}", " ".join(CONTENTS[content])))) >= 3


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_said_in_several_ways(style):
    look = STYLES[style]
    assert len(set(look["adverbs"])) >= 5 and len(set(look["tails"])) >= 5 and len(set(look["adjectives"])) >= 5
    words = [*look["adverbs"], *look["tails"], *look["gait"], *look["adjectives"]]
    words += [noun for noun, _ in look.get("subjects", [])] + look.get("walk", [])
    stems = "|".join(re.escape(word.replace("<his> ", "")) for word in words)
    said = [
        bool(re.search(rf"\b({stems})", re.sub(r"\b(their|his|her|the|your) ", "", line)))
        for line in some("bow", style, 300)
    ]
    share = sum(said) / len(said)
    assert share < 0.45 if style == "normal" else 0.45 < share < 0.85


def test_captions_are_plain_text():
    for line in everything():
        assert re.fullmatch(r"[a-z0-9' -]*[a-z0-9]", line), line  # so no #, / or full stop, and no mark-up left
        assert "  " not in line and line == line.strip()
        assert not re.search(r"\b(\w+) \1\b", line.replace("bye bye", "")), line  # no word twice in a row


def test_a_and_an():
    for line in everything():
        assert not re.search(r"\ba [aeiou]", line), line
        assert not re.search(r"\ban [^aeiou]", line), line


def test_verbs_agree():
    third, ing = {"bows", "takes", "makes", "gives", "does"}, {"bowing", "taking", "making", "giving", "doing"}
    for line in some("bow", "normal", 500):
        words = line.split()
        for word, following in zip(words, words[1:]):
            if word in ("he", "she", "someone", "somebody", "person"):
                assert following not in ("bow", "take", "make", "give") or words[0] in ("make", "let"), line
            if word in ("is", "starts", "keeps"):
                assert following not in third, line
            if word == "to":
                assert following not in third | ing, line


@pytest.mark.parametrize("forms", ["bow bows bowing bowed", "walk walks walking walked", "run runs running ran"])
def test_every_form_of_the_verb_occurs(forms):
    spoken = {word for line in some(forms.split()[0], "normal", 500) for word in line.split()}
    assert set(forms.split()) <= spoken


def test_the_possessive_goes_with_the_subject():
    wrong = {"he": "her|their", "she": "his|their", "man": "her|their", "woman": "his|their", "lady": "his|their"}
    for line in some("wave-left-hand", "normal", 800):
        for subject, words in wrong.items():
            if re.search(rf"\b{subject}\b", line):
                assert not re.search(rf"\b({words})\b", line), line


@pytest.mark.parametrize(
    "style, never",
    [
        ("elderly", "boy|girl|young"),
        ("old", "boy|girl|young"),
        ("feminine", "man|guy|boy|gentleman|he"),
        ("masculine", "woman|lady|girl|she|boy"),
        ("childish", "man|woman|gentleman"),
    ],
)
def test_subjects_do_not_contradict_the_style(style, never):
    for line in some("walk", style, 400):
        subject = line.split(" like ")[0]  # "walks like a little girl" is no subject
        assert not re.search(rf"\b({never})\b", subject), line


def test_a_dash_is_never_slow():
    for style in STYLES:
        for line in some("dash", style, 60):
            assert not re.search(r"slow|careful|sluggish|calm", line), line


@pytest.mark.parametrize("content", LEFT)
def test_left_contents_say_left_and_their_mirrors_right(content):
    for style in STYLES:
        for line in some(content, style, 60):
            assert LEFT_WORD.search(line) and not RIGHT_WORD.search(line), line
            mirrored = mirror_caption(line)
            assert RIGHT_WORD.search(mirrored) and not LEFT_WORD.search(mirrored), mirrored
            assert mirrored != line and mirror_caption(mirrored) == line
        for line in some(mirror_content(content), style, 60):
            assert not LEFT_WORD.search(line), line


def test_contents_without_a_side_name_none():
    for style in STYLES:
        for content in ("walk", "run", "dash", "walk-back", "bow", "byebye", "call", "raise-up-both-hands"):
            for line in some(content, style, 40):
                assert not LEFT_WORD.search(line) and not RIGHT_WORD.search(line), line


def test_mirroring_twice_changes_nothing():
    assert all(mirror_caption(mirror_caption(line)) == line for line in everything())


def test_mirror_leaves_other_words_alone():
    assert mirror_caption("turns clockwise, upright, to the brightest left") == (
        "turns counterclockwise, upright, to the brightest right"
    )
    assert mirror_caption("left-handed rightward anticlockwise") == "right-handed leftward clockwise"


def test_mirror_content():
    assert mirror_content("raise-up-left-hand") == "raise-up-right-hand"
    assert mirror_content("walk-turn-right") == "walk-turn-left"
    assert mirror_content("wave-both-hands") == "wave-both-hands"
    for content in CONTENTS:
        assert mirror_content(content) in CONTENTS
        assert mirror_content(mirror_content(content)) == content


def test_contents_keep_apart():
    owner = {}
    for content in CONTENTS:
        for line in some(content, "normal", 300):
            assert owner.setdefault(line, content) == content, line


@pytest.mark.parametrize(
    "word, allowed",
    [
        (r"bye bye|byebye|bye-bye", {"byebye"}),
        (r"goodbye|farewell", {"bye", "byebye"}),
        (r"sprint\w*", {"dash"}),
        (r"jog\w*", {"run"}),
        (r"backwards?", {"walk-back"}),
        (r"turn\w* (left|to the left)", {"walk-turn-left"}),
        (r"shout\w*", {"call"}),
    ],
)
def test_telling_words_belong_to_one_content(word, allowed):
    said = {c for c in CONTENTS for line in some(c, "happy", 300) if re.search(rf"\b({word})\b", line)}
    assert said == allowed


def test_the_seed_decides():
    assert some("kick", "angry", 50, seed=3) == some("kick", "angry", 50, seed=3)
    assert some("kick", "angry", 50, seed=3) != some("kick", "angry", 50, seed=4)


def test_unknown_labels_are_errors():
    with pytest.raises(KeyError):
        some("swim")
    with pytest.raises(KeyError):
        some("walk", "purple")


def test_every_word_gets_one_tag():
    for line in everything():
        tokens = tag(line).split()
        assert len(tokens) == len(line.split()), line
        assert all(token.count("/") == 1 and token.split("/")[0] for token in tokens)
        assert {token.split("/")[1] for token in tokens} <= TAGS


@pytest.mark.parametrize(
    "caption, expected",
    [
        ("a man walks slowly", "a/DET man/NOUN walk/VERB slowly/ADV"),
        ("A person is waving his left hand.", "a/DET person/NOUN is/AUX wave/VERB his/DET left/ADJ hand/NOUN"),
        ("she turned to the right", "she/PRON turn/VERB to/ADP the/DET right/NOUN"),
        ("starts to run", "start/VERB to/PART run/VERB"),
        ("goes for a slow walk", "go/VERB for/ADP a/DET slow/ADJ walk/NOUN"),
        ("the dancer gallops gleefully", "the/DET dancer/NOUN gallop/VERB gleefully/ADV"),
        ("three side-steps", "three/NUM sidestep/NOUN"),
        ("hopping on two feet", "hop/VERB on/ADP two/NUM foot/NOUN"),
        ("", ""),
    ],
)
def test_tag(caption, expected):
    assert tag(caption) == expected
