"""Templates are refused when they are saved, bounded when they are rendered, and quote nobody's data."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.domain.templates import RenderError, TemplateError, TemplateLimitError, compile_template


def render(source: str, **context: object) -> str:
    return compile_template(source).render(context)


@pytest.mark.parametrize(
    ("source", "context", "expected"),
    [
        pytest.param("Hi {{ name }}!", {"name": "Ann"}, "Hi Ann!", id="variable"),
        pytest.param("Hi {{ name }}!", {}, "Hi !", id="missing-is-empty"),
        pytest.param("{{ name | default: 'friend' }}", {"name": ""}, "friend", id="default"),
        pytest.param("{{ a.b.c }}", {"a": {"b": {"c": 1}}}, "1", id="path"),
        pytest.param("{{ cart.items[0].title }}", {"cart": {"items": [{"title": "Cup"}]}}, "Cup", id="key-named-items"),
        pytest.param("{{ a | upcase | append: '!' }}", {"a": "x"}, "X!", id="shipped-filters"),
        pytest.param("{% for i in l %}{{ i }};{% endfor %}", {"l": [1, 2]}, "1;2;", id="loop"),
        pytest.param("{{ a }}", {"a": "<b>&'"}, "<b>&'", id="no-html-escaping"),
        pytest.param("{{ a }}", {"a": "{{ secret }}"}, "{{ secret }}", id="data-are-no-template"),
        pytest.param("  \n {{ a }} \n\n", {"a": "x"}, "x", id="ends-trimmed"),
        pytest.param("{{ a }}", {"a": "A\x00n\x1bn\x7f\x85"}, "Ann", id="control-characters-go"),
        pytest.param("{{ a }}", {"a": "x\r\ny\rz\tw"}, "x\ny\nz w", id="line-breaks-and-tabs"),
        pytest.param("{{ a }}", {"a": "A\ud83dnn"}, "Ann", id="lone-surrogate-goes"),
        pytest.param("{{ a.b[0].c }}", {"a": {"b": ({"c": "\udc00Ann"},)}}, "Ann", id="lone-surrogate-deep-down-goes"),
        pytest.param("{{ '\ud83d' }}{{ a }}", {"a": "Ann"}, "Ann", id="lone-surrogate-in-the-template-goes"),
        pytest.param("{{ a }}", {"a": "A\u202enn\u2066"}, "Ann", id="direction-overrides-go"),
        pytest.param("{{ a }}", {"a": "👩\u200d🚀 Γειά"}, "👩\u200d🚀 Γειά", id="joined-emoji-stay"),
    ],
)
def test_render(source: str, context: dict[str, object], expected: str) -> None:
    assert render(source, **context) == expected


class Plain:
    secret = "sk_live"


@pytest.mark.parametrize(
    "source",
    [
        "{{ a.__class__ }}",
        "{{ a.__class__.__mro__ }}",
        "{{ a['__class__'] }}",
        "{{ o.secret }}",
        "{{ o['secret'] }}",
        "{{ o.__dict__ }}",
        "{{ d.keys }}",
        "{{ d.__class__ }}",
        "{{ s.format }}",
        "{{ l.append }}",
    ],
)
def test_attributes_are_out_of_reach(source: str) -> None:
    assert render(source, a=3, o=Plain(), d={"x": 1}, s="text", l=[1]) == ""


# --- money -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "expected"),
    [
        pytest.param("19.99", "USD", "en-US", "$19.99", id="dollar"),
        pytest.param("1234.5", "USD", "en", "$1,234.50", id="grouping"),
        pytest.param("14319", "JPY", "en", "¥14,319", id="yen-in-english"),
        pytest.param("14319", "JPY", "ja", "¥14,319", id="yen-in-japanese"),
        pytest.param("14319.00", "JPY", "en", "¥14,319", id="yen-with-decimals"),
        pytest.param("1234.56", "EUR", "de-DE", "1.234,56 €", id="german"),
        pytest.param("19.99", "EUR", "el", "19,99 €", id="greek"),
        pytest.param("1234.56", "EUR", "fr-FR", "1 234,56 €", id="french-narrow-space"),
        pytest.param("1.5", "KWD", "en", "KWD1.500", id="three-decimals"),
        pytest.param(Decimal("10.0"), "GBP", "en_GB", "£10.00", id="decimal-and-underscore"),
        pytest.param(10, "GBP", "en-GB", "£10.00", id="integer"),
        pytest.param(0, "USD", "en", "$0.00", id="zero"),
        pytest.param("-5.00", "USD", "en", "-$5.00", id="negative"),
        pytest.param("19.99", "USD", "zz-ZZ", "$19.99", id="unknown-locale"),
        pytest.param("19.99", "USD", "el-XX", "19,99 $", id="unknown-country-of-a-known-language"),
        pytest.param("19.99", "usd", "en", "$19.99", id="lower-case-code"),
        pytest.param("", "USD", "en", "", id="empty"),
        pytest.param(None, "USD", "en", "", id="nil"),
    ],
)
def test_money(amount: object, currency: str, locale: str, expected: str) -> None:
    assert render("{{ v | money }}", v=amount, currency=currency, locale=locale) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("{{ v | money_with_currency }}", "€1,234.00 EUR", id="with"),
        pytest.param("{{ v | money_without_currency }}", "1,234.00", id="without"),
        pytest.param("{{ v | money_without_trailing_zeros }}", "€1,234", id="short"),
        pytest.param("{{ '1234.50' | money_without_trailing_zeros }}", "€1,234.50", id="not-zeros"),
        pytest.param("{{ v | money: 'USD' }}", "$1,234.00", id="named-currency"),
        pytest.param("{{ nothing | money }}", "", id="undefined"),
    ],
)
def test_money_variants(source: str, expected: str) -> None:
    assert render(source, v="1234.00", currency="EUR", locale="en") == expected


@pytest.mark.parametrize("amount", ["Jane Doe", "NaN", "Infinity", "1e999", True, [1], "9" * 400])
def test_money_that_is_no_number_is_an_error_without_the_value(amount: object) -> None:
    with pytest.raises(RenderError) as caught:
        render("{{ v | money }}", v=amount)
    assert str(amount) not in str(caught.value)


# --- date --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "locale", "expected"),
    [
        pytest.param("{{ d | date: '%d/%m/%Y %H:%M' }}", "en", "23/11/2026 06:30", id="on-the-contexts-clock"),
        pytest.param("{{ d | date: '%-d %b %y, %-I %p' }}", "en", "23 Nov 26, 6 AM", id="flags"),
        pytest.param("{{ d | date: '%A %d %B' }}", "el", "Δευτέρα 23 Νοεμβρίου", id="names-in-greek"),
        pytest.param("{{ d | date }}", "en", "Nov 23, 2026", id="medium-by-default"),
        pytest.param("{{ d | date: 'long' }}", "de", "23. November 2026", id="named-format"),
        pytest.param("{{ d | date: '%% %q %999999999d' }}", "en", "% %q %999999999d", id="unknown-directives-stay"),
        pytest.param("{{ 'now' | date: '%F %T' }}", "en", "2026-11-22 14:00:00", id="now-is-the-contexts"),
        pytest.param("{{ day | date: '%F' }}", "en", "2026-11-22", id="a-day-has-no-zone"),
        pytest.param("{{ moment | date: '%R' }}", "en", "14:00", id="datetime"),
        pytest.param("{{ 'soon' | date: '%F' }}", "en", "soon", id="no-date-is-returned"),
        pytest.param("{{ nothing | date: '%F' }}", "en", "", id="undefined"),
    ],
)
def test_date(source: str, locale: str, expected: str) -> None:
    text = render(
        source,
        d="2026-11-22T23:30:00-05:00",
        day=date(2026, 11, 22),
        moment=datetime(2026, 11, 22, 12, tzinfo=UTC),
        now=datetime(2026, 11, 22, 12, tzinfo=UTC),
        timezone="Europe/Athens",
        locale=locale,
    )
    assert text == expected


@pytest.mark.parametrize("source", ["{{ now }}", "{{ today }}", "{{ now | date: '%F' }}", "{{ today | date: '%F' }}"])
def test_the_clock_is_out_of_reach(source: str) -> None:
    assert render(source) == ""


@pytest.mark.parametrize("word", ["now", "today"])
def test_without_a_now_the_word_stays(word: str) -> None:
    assert render("{{ word | date: '%F' }}", word=word) == word


# --- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "line", "problem"),
    [
        pytest.param("{{ a | nope }}", 1, "nope", id="unknown-filter"),
        pytest.param("x\ny\n{{ a | img_url }}", 3, "img_url", id="unknown-filter-on-line-three"),
        pytest.param("{% if a %}{{ b | nope }}{% endif %}", 1, "nope", id="unknown-filter-inside-a-block"),
        pytest.param("x\n{{ a | ", 2, "}}", id="unclosed-output"),
        pytest.param("\n\n{% for %}", 3, "expression", id="empty-for"),
        pytest.param("{% if a %}", 1, "endif", id="unclosed-if"),
        pytest.param("{% bogus %}", 1, "bogus", id="unknown-tag"),
        pytest.param("{% include 'x' %}", 1, "include", id="files-cannot-be-read"),
        pytest.param("{% render 'x' %}", 1, "render", id="partials-cannot-be-read"),
        pytest.param("{% tablerow i in l %}{% endtablerow %}", 1, "tablerow", id="html"),
        pytest.param("{{ a b }}", 1, "word", id="two-words"),
    ],
)
def test_a_wrong_template_is_refused_when_saved(source: str, line: int, problem: str) -> None:
    with pytest.raises(TemplateError, match=problem) as caught:
        compile_template(source)
    assert caught.value.line == line
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("a" * 5_001, id="source-too-long"),
        pytest.param("{% if a %}" * 40 + "{% endif %}" * 40, id="nesting"),
    ],
)
def test_limits_at_save(source: str) -> None:
    with pytest.raises(TemplateLimitError):
        compile_template(source)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("{% for i in (1..100000000) %}x{% endfor %}", id="endless-loop"),
        pytest.param("{% for i in (1..900) %}{% for j in (1..900) %}{% endfor %}{% endfor %}", id="nested-loops"),
        pytest.param("{% for i in (1..900) %}{{ hundred }}{% endfor %}", id="output"),
        pytest.param("{{ 'aaaaaaaaaa' " + "| replace: 'a', 'aaaaaaaaaa'" * 12 + " }}", id="replace-by-powers"),
        pytest.param(
            "{% assign a = 'x' %}{% for i in (1..99) %}{% assign a = a | append: a %}{% endfor %}", id="doubling"
        ),
        pytest.param(
            "{% assign a = hundred | split: '' %}" + "{% assign a = a | concat: a %}" * 30, id="doubling-list"
        ),
    ],
)
def test_limits_at_render(source: str) -> None:
    with pytest.raises(TemplateLimitError):
        render(source, hundred="x" * 100)


@pytest.mark.parametrize(
    ("source", "context"),
    [
        pytest.param("{{ a | divided_by: 0 }}", {"a": 12345}, id="division-by-zero"),
        pytest.param("{{ a | truncate: a }}", {"a": "Jane Doe"}, id="name-as-number"),
        pytest.param("{% for i in (1..a) %}{% endfor %}{{ a | slice: a }}", {"a": "Jane Doe"}, id="name-as-index"),
    ],
)
def test_a_render_error_names_the_line_and_no_data(source: str, context: dict[str, object]) -> None:
    with pytest.raises(RenderError) as caught:
        render(f"\n{source}", **context)
    assert caught.value.line in {0, 2}
    assert "Jane" not in repr(caught.value)
    assert "12345" not in repr(caught.value)
    assert caught.value.__suppress_context__


# --- variables and caches ----------------------------------------------------------------------------------------


def test_variables_are_what_the_template_reads() -> None:
    template = compile_template(
        "{% assign mine = order.name %}{{ mine }} {{ customer.first_name | default: shop }}"
        "{% for item in order.line_items %}{{ item.title | money }}{% endfor %}"
    )
    assert template.variables == ("customer.first_name", "order.line_items", "order.name", "shop")
    assert template.filters == ("default", "money")


def test_a_template_is_compiled_once_and_keeps_nothing_of_a_rendering() -> None:
    source = "{% increment n %}{{ n }}{% assign x = name %}{{ x }}"
    assert compile_template(source) is compile_template(source)
    assert render(source, name="Ann") == render(source, name="Ann")
    assert compile_template.cache_info().maxsize == 1024


@given(st.text(alphabet="{}%|.:'\" \nabif-=()[]0123", max_size=60))
def test_any_source_is_compiled_or_refused_and_then_rendered_or_refused(source: str) -> None:
    line = 0
    try:
        template = compile_template(source)
        template.render({"a": "x", "b": [1, {"a": 2}], "i": None})
    except TemplateError as problem:
        line = problem.line
    assert 0 <= line <= source.count("\n") + 1


@given(st.text(max_size=80))
def test_what_is_rendered_is_clean(value: str) -> None:
    text = render("{{ v }}", v=value)
    assert text == text.strip()
    assert not any(ord(character) < 32 and character != "\n" for character in text)
