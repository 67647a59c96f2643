"""Telephone numbers that reach nobody, valid for phonenumbers unless said otherwise.

Sources: NANPA keeps 555-0100 to 555-0199 of every area code for fiction; Bundesnetzagentur (Mitteilung 148/2021) lists
0171 39200 00-99; PTS keeps 070-1740605 to 070-1740699; ACMA lists 0491 570 006, 156, 157, 158, 159 and 110; Ofcom keeps
07700 900000-900999, which phonenumbers calls invalid. For France (06 39 98 xx xx, ARCEP) the same holds, and Greece and
Japan publish no such mobile range: shapes of those countries carry a number from here or an unusable local one.
"""

from __future__ import annotations

_AREA_CODES = """
    202 212 213 214 215 216 217 301 302 303 304 305 307 308 309 310 312 313 314 315 316 317 318 319 401 402 404
    405 406 407 408 409 410 412 413 414 415 417 419 423 424 425 430 432 434 435 501 502 503 504 505 507 508 509
    510 512 513 515 516 517 518 520 530 540 541 559 561 562 573 601 602 603 605 606 607 608 609 610 612 614 615
    616 617 618 619 620 623 626 630 631 636 641 701 702 703 704 706 707 708 712 713 714 715 716 717 718 719 720
    724 727 731 732 734 740 754 801 802 803 804 805 806 808 810 812 813 814 815 816 817 818 828 830 831 832 843
    845 847 850 901 903 904 906 907 908 909 910 912 913 914 915 916 917 918 919 920 925 928 931 936 937 940
"""
AREA_CODES = tuple(int(code) for code in _AREA_CODES.split())

UK_INVALID = "+447700900123"
FR_INVALID = "+33639980123"
UNUSABLE_LOCAL = "555-625-SHIP"
PLAIN_NUMBERS = 90 * len(AREA_CODES)


def plain(index: int) -> str:
    """A US number without a magic ending (last two digits 10-99); different for every index below PLAIN_NUMBERS."""
    area, last = divmod(index, 90)
    return f"+1{AREA_CODES[area]}55501{last + 10:02d}"


def magic(ending: int, index: int = 0) -> str:
    """A US number that ends in 01 to 08 and so picks the fake Mitto's behaviour; `index` picks the area code."""
    return f"+1{AREA_CODES[index]}55501{ending:02d}"


def german(ending: int) -> str:
    """A German mobile number of the drama range, any ending from 0 to 99."""
    return f"+4917139200{ending:02d}"


def swedish(ending: int) -> str:
    """A Swedish mobile number of the fiction range, endings 5 to 99."""
    return f"+467017406{ending:02d}"


def australian(index: int) -> str:
    """One of six Australian mobile numbers; none has a magic ending but the first (06)."""
    return f"+61491570{('006', '156', '157', '158', '159', '110')[index]}"
