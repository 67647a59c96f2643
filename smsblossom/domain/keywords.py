"""What an inbound text asks for: exact keywords and short free phrases per language, nothing cleverer.

A text matches as a whole or not at all, so that "I'll stop by" opts nobody out, and "please stop texting me!!" does.
Words that opt out count in every language whatever the contact's own: 47 CFR 64.1200(a)(10) names STOP, QUIT, END,
REVOKE, OPT OUT, CANCEL and UNSUBSCRIBE and lets a consumer use any reasonable means. Further words from the defaults
of Twilio (STOPALL, OPTOUT), Telnyx (STOP ALL), AWS (ARRET, OPT-OUT, REMOVE, TD) and Braze (START, YES, UNSTOP, HELP,
INFO); the others by practitioners' knowledge.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum

LONGEST = 80
"""No keyword or phrase is longer, in characters after folding; a longer text is nobody's command."""


class Keyword(StrEnum):
    """What the sender wants. NONE is an ordinary text, kept for the inbox."""

    STOP = "stop"
    START = "start"
    HELP = "help"
    YES = "yes"
    NONE = "none"


_STOP = {
    "en": """stop | stopall | stop all | unsubscribe | end | quit | cancel | revoke | optout | opt out | opt me out |
        remove | td | i said stop | remove me | unsubscribe me | take me off | stop it | stop this | stop now |
        stop texting | stop texting me | stop texting this number | stop text | stop texts | stop the texts |
        stop these texts | stop messaging | stop messaging me | stop messages | stop the messages |
        stop these messages | stop sending | stop sending me texts | stop sending me messages | stop sending texts |
        stop sending messages | stop sending me these | stop contacting me | stop spamming me | stop spam |
        stop promotions | stop marketing | quit texting me | quit messaging me | do not text me | dont text me |
        don't text me | do not text | do not contact me | dont contact me | don't contact me | do not message me |
        don't message me | no more texts | no more messages | no more | unsubscribe from all | unsubscribe all |
        cancel all | remove me from your list | remove me from the list | remove me from this list |
        remove my number | remove this number | delete my number | take me off your list | take me off the list |
        take me off this list | i want to unsubscribe | i want to opt out | i want to stop | i want out |
        i revoke consent | i revoke my consent | revoke consent | wrong number""",
    "fr": """arret | arrete | arretez | stop sms | stop pub | desabonner | desabonnement | desinscrire |
        desinscription | me desabonner | me desinscrire | desabonnez moi | desinscrivez moi | plus de sms |
        plus de messages | arretez les sms | arretez de m'envoyer des sms | ne m'ecrivez plus | supprimez mon numero""",
    "el": """στοπ | διαγραφη | διαγραψτε με | διακοπη | απεγγραφη | καταργηση | σταματα | σταματηστε | τελος |
        οχι αλλα μηνυματα | οχι αλλα sms | μη μου στελνετε | μη μου στελνετε μηνυματα | μην μου στελνετε |
        μην μου στελνετε μηνυματα | σταματηστε να μου στελνετε | σταματηστε τα μηνυματα | βγαλτε με απο τη λιστα |
        stamata | stamatiste | diagrafi""",
    "de": """stopp | abmelden | abbestellen | abmeldung | austragen | ende | kundigen | loschen | bitte loschen |
        keine sms mehr | keine nachrichten mehr | keine werbung | keine werbung mehr | schreiben sie mir nicht mehr |
        melden sie mich ab | ich mochte mich abmelden | mich abmelden | nummer loschen""",
    "es": """baja | dar de baja | darme de baja | dame de baja | denme de baja | cancelar | alto | parar | pare |
        no mas | no mas mensajes | no mas sms | no enviar mas | no me escriban mas | no me envien mas mensajes |
        quiero darme de baja | eliminar | borrar mi numero""",
    "it": """disiscrivi | disiscrivimi | disiscrizione | cancellami | cancellatemi | cancella | annulla | basta |
        fermati | rimuovi | rimuovimi | non scrivetemi piu | non inviatemi piu sms | basta sms | basta messaggi""",
    "nl": """afmelden | uitschrijven | stoppen | stop met sms | stop met sturen | geen sms meer |
        geen berichten meer | meld me af | schrijf me uit""",
    "pt": """parar | pare | sair | cancelar | descadastrar | remover | nao quero mais | chega | parem |
        nao me enviem mais mensagens | nao enviar mais""",
    "pl": """rezygnuje | wypisz | wypisz mnie | koniec | usun | anuluj | zakoncz | nie pisz | nie wysylaj""",
}
_START = {
    "en": "start | unstop | subscribe | resubscribe | optin | opt in | opt me in | sign me up | resume",
    "fr": "reprendre | abonner | inscription | m'inscrire",
    "el": "εγγραφη | εναρξη | ξεκινα",
    "de": "anmelden | starten | anmeldung",
    "es": "alta | iniciar | suscribir | suscribirme",
    "it": "iscrivimi | iscrizione | attiva",
    "nl": "aanmelden | inschrijven",
    "pt": "iniciar | inscrever | comecar",
    "pl": "zapisz | zapisz mnie | wznow",
}
_HELP = {
    "en": "help | info | help me | i need help | information | support",
    "fr": "aide | infos | aidez moi",
    "el": "βοηθεια | πληροφοριες",
    "de": "hilfe | information",
    "es": "ayuda | informacion",
    "it": "aiuto | informazioni",
    "nl": "hulp | informatie",
    "pt": "ajuda | informacao",
    "pl": "pomoc | informacja",
}
_YES = {
    "en": "yes | y | yes i do | yes i agree | i agree | confirm | ok | okay",
    "fr": "oui | o | d'accord | je confirme",
    "el": "ναι | nai | συμφωνω | επιβεβαιωνω",
    "de": "ja | j | ja ich will | bestatigen",
    "es": "si | s | si quiero | confirmo | confirmar",
    "it": "si | s | confermo",
    "nl": "ja | j | akkoord",
    "pt": "sim | s | confirmo",
    "pl": "tak | t | potwierdzam",
}
_COURTESY = (
    "please pls plz kindly thanks thx hi hello hey now just sorry svp merci bonjour bitte danke hallo por favor gracias"
    " hola per grazie ciao alstublieft aub bedankt obrigado obrigada prosze dziekuje παρακαλω ευχαριστω γεια"
)
_SIGNATURE = re.compile(r"\bsent from my (?:iphone|ipad|galaxy|phone)\b.*", re.DOTALL)
_LOOK_ALIKE = str.maketrans("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧАВЕЅІЈКМНОРСТУХ", "ABEZHIKMNOPTYXABESIJKMHOPCTYX")


def fold(text: str) -> str:
    """The letters and digits of a text: case-folded, without accents, one space between words, nothing else.

    Quotes, punctuation and emoji part words; apostrophes and invisible characters do not. Repeated words count once
    ("STOP STOP"), spelled ones are joined ("S.T.O.P.").
    """
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(_plain(character) for character in plain)
    words = kept.split()
    if len(words) > 1 and all(len(word) == 1 for word in words):
        return "".join(words)
    return words[0] if words and len(set(words)) == 1 else " ".join(words)


def classify(
    text: str,
    *,
    lang: str | None = None,
    pending_double_opt_in: bool = False,
    extra: Mapping[str, Keyword] | None = None,
) -> Keyword:
    """What this text asks for.

    `lang` (ISO 639, as of the shop or contact; "el-GR" will do) narrows START, HELP and YES to English and that
    language; STOP counts in all. YES counts only while a double opt-in is pending, so that it never brings back a
    person whom STOP removed. `extra` holds a shop's own words; they add to the table and cannot take STOP away.
    """
    candidates = _candidates(text)
    own = {fold(word): keyword for word, keyword in (extra or {}).items()}
    if candidates & _STOPS or any(own.get(candidate) is Keyword.STOP for candidate in candidates):
        return Keyword.STOP
    languages = _LANGUAGES if lang is None else ("en", lang.casefold()[:2])
    for keyword, tables in _OTHERS:
        if keyword is Keyword.YES and not pending_double_opt_in:
            continue
        known = any(candidates & tables.get(language, frozenset()) for language in languages)
        if known or any(own.get(candidate) is keyword for candidate in candidates):
            return keyword
    return Keyword.NONE


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] in "LN":
        return character
    return "" if category in {"Mn", "Me", "Cf", "Cs"} or character in "'’ʼ`´" else " "


def _candidates(text: str) -> frozenset[str]:
    """The folded text, and the same without courtesies at its ends; both also as Latin where alphabets are mixed."""
    found = set()
    for spelled in (text[: 4 * LONGEST], text[: 4 * LONGEST].upper().translate(_LOOK_ALIKE)):
        folded = _SIGNATURE.sub("", fold(spelled)).strip()
        if 0 < len(folded) <= LONGEST:
            found |= {folded, _without_courtesy(folded)}
    return frozenset(found - {""})


def _without_courtesy(folded: str) -> str:
    words = folded.replace("thank you", "thanks").split()
    while words and words[0] in _COURTEOUS:
        words.pop(0)
    while words and words[-1] in _COURTEOUS:
        words.pop()
    return fold(" ".join(words))


def _phrases(table: str) -> frozenset[str]:
    return frozenset(fold(phrase) for phrase in table.split("|"))


def _tables(source: Mapping[str, str]) -> dict[str, frozenset[str]]:
    return {language: _phrases(phrases) for language, phrases in source.items()}


_COURTEOUS: frozenset[str] = frozenset(_COURTESY.split())
_LANGUAGES: Iterable[str] = tuple(_STOP)
_STOPS = frozenset().union(*_tables(_STOP).values())
_OTHERS = (
    (Keyword.HELP, _tables(_HELP)),
    (Keyword.START, _tables(_START)),
    (Keyword.YES, _tables(_YES)),
)
