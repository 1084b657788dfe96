"""Redaction: no secret survives, and ordinary text does."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.redaction.secret_patterns import MARKER

SECRET = 'kettle/&"blue+moon'
PASSWORDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="[]:", exclude_categories=["Cc", "Zs"]),
    min_size=6,
    max_size=24,
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


class TestShapes:
    """What has the shape of a secret is taken out; what stands around it stays."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("postgresql://app:s3cr3t@db:5432/flowrex", "postgresql://app:[redacted:password]@db:5432/flowrex"),
            ("redis://:pa@ss@cache:6379/0", "redis://:[redacted:password]@cache:6379/0"),
            ("postgresql://app:averylongpass...", "postgresql://app:[redacted:password]..."),
            ("host=db password=s3cr3t dbname=x", "host=db password=[redacted:secret] dbname=x"),
            ("password = 'it is long' user=x", "password = '[redacted:secret]' user=x"),
            ("POSTGRES_PASSWORD=abc\nPATH=/bin", "POSTGRES_PASSWORD=[redacted:secret]\nPATH=/bin"),
            ("      BROKER_API_KEY: k-123", "      BROKER_API_KEY: [redacted:secret]"),
            ('{"password": "x y", "user": "u"}', '{"password": "[redacted:secret]", "user": "u"}'),
            ("&quot;api_key&quot;: &quot;q1&quot;", "&quot;api_key&quot;: &quot;[redacted:secret]&quot;"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted:authorization]"),
            ("authorization: Basic dXNlcjpwdw==", "authorization: Basic [redacted:authorization]"),
            ("AKIAIOSFODNN7EXAMPLE", "[redacted:aws-key]"),
            ("xoxb-1234567890-abcdef", "[redacted:token]"),
            ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "[redacted:token]"),
            ("ghp_" + "a1" * 18, "[redacted:token]"),
            ("Set-Cookie: session=abc; Path=/\nServer: nginx", "Set-Cookie: [redacted:cookie]\nServer: nginx"),
            ("card 4111 1111 1111 1111 declined", "card [redacted:card-number] declined"),
            ("5500-0000-0000-0004", "[redacted:card-number]"),
            ("378282246310005", "[redacted:card-number]"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "[redacted:jwt]"),
        ],
    )
    def test_secret_is_replaced(self, text: str, expected: str) -> None:
        assert expected == Redactor().text(text)

    def test_private_key_goes_even_without_its_end(self) -> None:
        whole = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAbc=\n-----END RSA PRIVATE KEY-----"
        assert Redactor().text(f"a {whole} b") == "a [redacted:private-key] b"
        assert "MIIEow" not in Redactor().text(whole[:45])

    @pytest.mark.parametrize(
        "text",
        [
            "2026-11-23T17:12:27.123456+00:00 pid=41111 state=idle",
            "1764000000000 1764000000000000 1764000000000000000",
            "d41d8cd98f00b204e9800998ecf8427e 41111111-1111-4111-8111-111111111111",
            "http://127.0.0.1:9090/api/v1/query?query=up see ops@example.com",
            "SELECT * FROM sessions WHERE token = $1 AND key_count = 3",
            "password = get_password()",
            "password=None, token=None",
            "wrong password: try again; the cookie: a biscuit",
            "0.4111111111111111 4111111111111112",
            "tokens=12 monkey=7 compass=north",
            "https://grafana.example/d/abc?orgId=1&from=now-30m",
        ],
    )
    def test_ordinary_text_is_left_alone(self, text: str) -> None:
        assert text == Redactor().text(text)


class TestNames:
    """A secret is known by the last word of its name, whatever stands before it and however it is written."""

    @pytest.mark.parametrize(
        "name",
        [
            "db_password",
            "client_secret",
            "x-api-key",
            "AWS_SECRET_ACCESS_KEY",
            "smtp.auth.token",
            "refreshToken",
            "SecretAccessKey",
            "PGPASSWORD",
            "DESKPASSWORD",
            "DB_PASS",
            "dbPass",
            "PGPASS",
            "SECRET_KEY",
            "userPwd",
        ],
    )
    @pytest.mark.parametrize(
        "form",
        [
            '{"%s": "sesame"}',
            r"{\"%s\": \"sesame\"}",
            "{'%s': 'sesame'}",
            "&quot;%s&quot;: &quot;sesame&quot;",
            '{"%s": ["sesame", "sesame"]}',
            "%s=sesame psql",
            "url?a=1&%s=sesame&b=2",
            "%s = 'sesame'",
            "  %s: sesame\n",
            "\x1b[32m%s\x1b[0m=\x1b[31msesame\x1b[0m",
            "> %s: sesame\r\n",
            "- %s: 'open sesame'",
        ],
    )
    def test_secret_under_a_name_is_replaced(self, name: str, form: str) -> None:
        redacted = Redactor().text(form % name)
        assert "sesame" not in redacted
        assert name in redacted

    @pytest.mark.parametrize("name", ["db_password", "client_secret", "x-api-key", "refreshToken", "PGPASSWORD"])
    def test_member_is_replaced_be_it_text_number_or_list(self, name: str) -> None:
        redacted = str(
            Redactor().json({"labels": {name: ["sesame", 471147]}, "deep": [{name: 4711}, {name: "sesame"}]})
        )
        assert [word for word in ("sesame", "4711") if word in redacted] == []

    def test_text_of_a_number_is_replaced(self) -> None:
        assert Redactor().text('{"pin_token": 47114711}') == '{"pin_token": [redacted:secret]}'

    @pytest.mark.parametrize(
        "text",
        [
            "max_tokens=4096 token_count=12 bypass=1 compass=north pass=3 fail=2",
            "GET /password_reset_page HTTP/1.1",
            "they pass the salt; a second pass: none failed",
            "invalid refresh_token: expired since noon",
            "      db_password: ${DB_PASSWORD}",
            '{"password_reset": true, "token": true, "tokens": 4096, "sort_key": "name", "secret": null, "token": 7}',
            "the requirepass directive is missing",
            "OLDPWD=/srv task-force disk-usage-of-everything-on-this-host",
        ],
    )
    def test_ordinary_names_are_left_alone(self, text: str) -> None:
        assert text == Redactor().text(text)

    def test_small_number_or_flag_is_left_alone(self) -> None:
        member = {"token": 7, "secret": True, "password": None, "tokens": 4096}
        assert member == Redactor().json(member)

    @pytest.mark.parametrize(
        "text",
        [
            "GET https://llm.example/v1/models?key=AIzaSySesameSesameSesameSesameSesame012 HTTP/1.1",
            "OPENAI: sk-proj-SesameSesameSesameSesame0123",
            "mail: SG.SesameSesameSesame0123.SesameSesameSesameSesameSesameSesame012345",
            "https://discord.com/api/webhooks/123456789012345678/SesameSesameSesame-Sesame",
            "123456789:AASesameSesameSesameSesameSesame01234 telegram",
            "requirepass sesame",
            "CONFIG SET masterauth 'open sesame'",
        ],
    )
    def test_keys_of_providers_are_replaced(self, text: str) -> None:
        assert "sesame" not in Redactor().text(text).lower()


class TestLiterals:
    """A literal secret goes in every spelling."""

    @pytest.mark.parametrize(
        "spelling",
        [
            SECRET,
            quote(SECRET, safe=""),
            json.dumps(SECRET),
            json.dumps(json.dumps(SECRET)),
            repr(SECRET),
            SECRET.replace("&", "&amp;").replace('"', "&quot;"),
            base64.b64encode(SECRET.encode()).decode(),
            base64.b64encode(f"user:{SECRET}:x".encode()).decode(),
            base64.urlsafe_b64encode(f"ab{SECRET}".encode()).decode(),
            SECRET[:12] + "...",
        ],
    )
    def test_spelling_is_replaced(self, spelling: str) -> None:
        redacted = Redactor([SECRET]).text(f"before {spelling} after")
        assert "[redacted:secret]" in redacted
        assert "kettle" not in redacted
        assert redacted.startswith("before ")
        assert redacted.endswith(" after")

    def test_keys_numbers_and_split_lines_of_json(self) -> None:
        redactor = Redactor(["87654321", "two\nlines"])
        redacted = redactor.json({"87654321": [87654321, 4111111111111111, 7], "lines": ["one two\n", "lines"]})
        assert redacted == {
            "[redacted:secret]": ["[redacted:secret]", "[redacted:card-number]", 7],
            "lines": ["one [redacted:secret]"],
        }

    def test_images_are_left_alone(self) -> None:
        bundle = {"image/png": "kettle-kettle", "text/html": '<img src="data:image/png;base64,kettle+kettle">'}
        assert bundle == Redactor(["kettle"]).json(bundle)

    @pytest.mark.parametrize(
        "piece",
        [
            "17:12:27 pid 4321 idle https://host/path token=None\n",
            "-",
            "a",
            "a1",
            "_",
            "a-",
            "a-a_",
            "p",
            "\\",
            '"',
            "eyJ",
            "eyJ-",
            "cookie:",
            "token",
            "token:",
            'token": [',
            "pass_",
            "-----BEGIN PRIVATE KEY-----",
        ],
    )
    def test_its_time_grows_with_the_text_and_no_faster_whatever_that_repeats(self, piece: str) -> None:
        """About 0.1 s of processor for a megabyte; what grows with the square of it takes 64 times as long for 8 times as much."""
        redactor = Redactor([f"secret-number-{n}" for n in range(10)])

        def seconds(length: int) -> float:
            text = piece * (length // len(piece)) + " password secret token api_key private cookie eyJ"
            started = time.process_time()
            redactor.text(text)
            return time.process_time() - started

        redactor.text("warm")
        assert seconds(1_000_000) < 32 * seconds(125_000)


class TestProperties:
    """What holds for any input."""

    @given(PASSWORDS, st.text(max_size=40), st.text(max_size=40))
    @example("redacted", "a ", "")
    def test_literal_never_survives(self, secret: str, before: str, after: str) -> None:
        redacted = Redactor([secret]).text(before + secret + after)
        assert secret not in MARKER.sub("\0", redacted)

    @given(PASSWORDS, JSON_VALUES)
    def test_redacting_twice_changes_nothing(self, secret: str, value: object) -> None:
        redactor = Redactor([secret])
        once = redactor.json({"value": value, "text": f"x {secret} y"})
        assert once == redactor.json(once)

    @given(st.text(alphabet=st.characters(categories=["L", "N", "Zs"]), max_size=12))
    def test_words_and_short_numbers_are_left_alone(self, text: str) -> None:
        assert text == Redactor(["correct-horse"]).text(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cleared \x1b[2J\x1b[H", "cleared \ufffd[2J\ufffd[H"),
        ("title \x1b]0;owned\x07", "title \ufffd]0;owned\ufffd"),
        ("nul \x00 and csi \x9b2J", "nul \ufffd and csi \ufffd2J"),
        ("user \u202egnp.exe", "user \ufffdgnp.exe"),
        ("half a character \ud83d", "half a character \ufffd"),
        ("\x1b[31mred\x1b[0m\tand\r\nnew lines", "\x1b[31mred\x1b[0m\tand\r\nnew lines"),
    ],
)
def test_what_commands_a_terminal_is_inert(text: str, shown: str) -> None:
    """Colours, tabs and new lines stay; what moves the cursor, names the window or turns the writing round does not."""
    assert Redactor().text(text) == shown
    assert Redactor().json({"summary": text}) == {"summary": shown}
