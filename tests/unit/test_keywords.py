"""A text is a keyword as a whole or not at all; a wish to stop is heard in every language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.domain import keywords
from smsblossom.domain.keywords import Keyword, classify, fold

STOP, START, HELP, YES, NONE = Keyword.STOP, Keyword.START, Keyword.HELP, Keyword.YES, Keyword.NONE


@pytest.mark.parametrize(
    "text",
    [
        # 47 CFR 64.1200(a)(10), and the defaults of Twilio, Telnyx and AWS
        *("STOP", "QUIT", "END", "REVOKE", "OPT OUT", "CANCEL", "UNSUBSCRIBE"),
        *("STOPALL", "STOP ALL", "OPTOUT", "OPT-OUT", "ARRET", "REMOVE", "TD"),
        # the same, as people write it
        *(
            "stop",
            " Stop.\n",
            "“STOP”",
            "'stop'",
            "«stop»",
            "STOP!!!",
            "STOP 🛑🙏🏽",
            "🛑stop🛑",
            "S.T.O.P.",
            "s t o p",
        ),
        *(
            "STOP STOP STOP",
            "St\u200bop",
            "ＳＴＯＰ",
            "ѕтор",
            "SΤΟP",
            "stop\n\nSent from my iPhone",
            "Opt_out",
            "#stop",
        ),
        *("STOP PLEASE", "please stop", "Hi, stop now please", "Stop, thank you", "stop thanks"),
        *(
            "stop texting me",
            "Please stop texting me!!!",
            "STOP TEXTING ME NOW",
            "stop sending me these",
            "Stop messaging me",
        ),
        *("please remove me", "Remove me from your list.", "unsubscribe me", "take me off your list", "no more texts"),
        *(
            "don't text me",
            "Don’t text me",
            "dont contact me",
            "Do not contact me.",
            "I want to opt out",
            "I revoke my consent",
        ),
        # other languages
        *("ARRÊT", "désabonner", "Désinscription", "arrêtez les SMS"),
        *("ΣΤΟΠ", "στοπ", "Στοπ.", "ΔΙΑΓΡΑΦΗ", "διαγραφή", "Διαγράψτε με", "Σταματήστε!", "ΑΠΕΓΓΡΑΦΗ"),
        *("STOPP", "Abmelden", "Löschen", "Bitte abmelden", "Keine SMS mehr"),
        *("BAJA", "Darme de baja", "baja por favor", "No más mensajes"),
        *("Basta", "Cancellami", "disiscrivi"),
        *("AFMELDEN", "uitschrijven", "PARAR", "sair", "Rezygnuję", "wypisz mnie"),
    ],
)
@pytest.mark.parametrize("lang", [None, "en", "ja"])
def test_stop(text: str, lang: str | None) -> None:
    assert classify(text, lang=lang) is STOP
    assert classify(text, lang=lang, pending_double_opt_in=True) is STOP


@pytest.mark.parametrize(
    "text",
    [
        *("I'll stop by", "I’ll stop by tomorrow", "stop by anytime", "Can I stop in?", "don't stop", "Don’t stop!"),
        *(
            "non-stop",
            "unstoppable",
            "stopped",
            "the end",
            "The bus stop",
            "Stopping",
            "is there a stop sign",
            "pit stop",
        ),
        *("cancel my order", "Please cancel order 1001", "end of june", "quit smoking", "remove item 2", "revoked"),
        *(
            "don't unsubscribe me",
            "I do not want to stop",
            "help yourself",
            "more info please on size M",
            "starting when?",
        ),
        *("", " ", "🛑", "!!!", "\u200b", "\x00", "1", "please", "thank you", "where is my order"),
        *(
            "σταματάω στο μαγαζί",
            "το τέλος της σεζόν",
            "¿cuándo baja el precio?",
            "ende der woche",
            "parar de fumar hoje",
        ),
        *("stop " + "x" * 500, "stop" * 60),
    ],
)
def test_an_ordinary_text(text: str) -> None:
    assert classify(text) is NONE
    assert classify(text, pending_double_opt_in=True) is NONE


@pytest.mark.parametrize(
    ("text", "lang", "expected"),
    [
        pytest.param("START", None, START, id="start"),
        pytest.param("Unstop", None, START, id="unstop"),
        pytest.param("opt-in please", None, START, id="opt-in"),
        pytest.param("HELP", None, HELP, id="help"),
        pytest.param("Help?", "el", HELP, id="english-counts-everywhere"),
        pytest.param("info", None, HELP, id="info"),
        pytest.param("ΒΟΗΘΕΙΑ", "el-GR", HELP, id="greek-help"),
        pytest.param("ΒΟΗΘΕΙΑ", None, HELP, id="any-language-when-unknown"),
        pytest.param("Hilfe", "de", HELP, id="german-help"),
        pytest.param("Hilfe", "fr", NONE, id="german-help-from-a-french-contact"),
        pytest.param("alta", "es", START, id="spanish-start"),
        pytest.param("alta", "it", NONE, id="alta-means-tall-in-italian"),
        pytest.param("aide", "FR", HELP, id="language-in-capitals"),
    ],
)
def test_start_and_help(text: str, lang: str | None, expected: Keyword) -> None:
    assert classify(text, lang=lang) is expected


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("YES", None),
        ("yes!", "en"),
        ("Y", None),
        ("ναι", "el"),
        ("NAI", "el"),
        ("Sí", "es"),
        ("oui 👍", "fr"),
        ("ja", "de"),
    ],
)
def test_yes_counts_only_while_a_double_opt_in_is_pending(text: str, lang: str | None) -> None:
    assert classify(text, lang=lang, pending_double_opt_in=True) is YES
    assert classify(text, lang=lang) is NONE


def test_yes_in_another_language_is_not_taken_for_consent() -> None:
    assert classify("ja", lang="el", pending_double_opt_in=True) is NONE


def test_a_shop_adds_words_and_cannot_take_stop_away() -> None:
    extra = {"Bye Bye!": STOP, "JOIN": START, "stop": START, "γεια": HELP}
    assert classify("bye-bye", extra=extra) is STOP
    assert classify("join", extra=extra) is START
    assert classify("join") is NONE
    assert classify("STOP", extra=extra) is STOP


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("  Opt—Out!! ", "opt out", id="punctuation-parts"),
        pytest.param("I'll", "ill", id="apostrophe-joins"),
        pytest.param("ARRÊT", "arret", id="accents"),
        pytest.param("ΣΤΑΜΑΤΉΣΤΕ", "σταματηστε", id="greek-accents"),
        pytest.param("\ud83dstop", "stop", id="lone-surrogate"),
        pytest.param("a b c", "abc", id="spelled"),
        pytest.param("go go", "go", id="repeated"),
        pytest.param("", "", id="empty"),
    ],
)
def test_fold(text: str, expected: str) -> None:
    assert fold(text) == expected


@given(st.text(max_size=100))
def test_folding_twice_changes_nothing_and_any_text_gets_an_answer(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert classify(text) in Keyword


def test_no_word_means_two_things() -> None:
    seen: dict[str, Keyword] = dict.fromkeys(keywords._STOPS, STOP)
    for keyword, tables in keywords._OTHERS:
        for word in frozenset().union(*tables.values()):
            assert seen.setdefault(word, keyword) is keyword, word
    assert "" not in seen
    assert max(map(len, seen)) <= keywords.LONGEST
