"""Where a secret stands without a name of its own before it: command lines, SQL, Redis, headers, URLs, one-time codes.

As in ``secret_patterns.py``, each rule has needles, and stays linear on a megabyte of anything.
"""

from __future__ import annotations

from flowrex_ops.redaction.secret_patterns import Shape, shape

_WORD = r"(?P<secret>\"[^\"\n]+\"|'[^'\n]+'|[^\s'\"]+)"
_MIXED = r"(?=[^\s'\"]{0,200}[0-9])[^\s'\"]{6,}"

PHRASES: tuple[Shape, ...] = (
    # user:password of an option; numbers alone are a user and a group (docker run -u 1000:1000)
    shape(
        "password",
        "-u --user --proxy-user -a",
        r"(?<![\w-])(?:-u|--user|--proxy-user|-a|--auth)[ =]['\"]?[^\s:'\"/]{1,80}:(?!\d{1,5}(?!\w))(?P<secret>[^\s'\"]+)",
    ),
    shape("password", "mysql maria", r"\b(?:mysql|maria)[\w-]{0,12}[^\n|;]{0,200}?[ ]-p(?P<secret>[^\s=-][^\s]*)"),
    shape(
        "password",
        "sshpass docker mongo htpasswd podman helm rabbitmq",
        rf"\b(?:sshpass|(?:docker|podman|helm)[^\n|;]{{0,40}}\blogin|mongo\w{{0,8}})\b[^\n|;]{{0,200}}?[ ]-p[ ]+{_WORD}",
    ),
    shape("password", "htpasswd", rf"\bhtpasswd[ ](?:-\w+[ ])*-\w*b\w*[ ](?:-\w+[ ])*[^\s]+[ ][^\s]+[ ]{_WORD}"),
    shape("password", "redis-cli valkey-cli", rf"\b(?:redis|valkey)-cli\b[^\n|;]{{0,200}}?[ ](?:-a|--pass)[ ]+{_WORD}"),
    shape("password", "pass:", r"(?<![\w.-])pass:(?P<secret>[^\s'\"]+)"),
    shape("token", "vault login", rf"\bvault[ ]login[ ](?:-[\w=-]+[ ])*{_WORD}"),
    shape("password", "%", r"(?<![\w-])-U[ ][^\s%'\"]{1,80}%(?P<secret>[^\s'\"]+)"),
    # SQL (PostgreSQL: CREATE ROLE; MySQL: CREATE USER; pgcrypto)
    shape(
        "password",
        "identified",
        r"(?i)\bidentified\s+(?:with\s+[\w'\"]+\s+)?(?:by|as)\s+(?:password\s+)?['\"](?P<secret>[^'\"\n]+)['\"]",
    ),
    shape(
        "row",
        "insert",
        r"(?i)\binsert\s+into\s+[^()]{1,80}\([^()]{0,200}(?:passw|secret|token|api_key)[^()]{0,200}\)\s*values\s*\((?P<secret>[^()]+)\)",
    ),
    shape("password", "set login", rf"(?i)\b(?:set|login[ ][^\s]{{1,80}})[ ]password[ ](?:=[ ])?{_WORD}"),
    shape("password", "crypt( encrypt(", r"(?i)\b(?:crypt|pgp_sym_(?:en|de)crypt|encrypt)\(\s*'(?P<secret>[^'\n]+)'"),
    # Redis: AUTH [user] password, HELLO 3 AUTH user password, ACL SETUSER … >password, and MONITOR's quotes
    shape("password", "auth", rf"(?<![\w-])AUTH[ ]+(?:[\w.-]{{1,60}}[ ]+)?(?P<secret>{_MIXED})"),
    shape(
        "password",
        "auth",
        r"(?m)(?<![\w-])AUTH[ ]+(?:[\w.-]{1,60}[ ]+)?(?P<secret>(?!(?i:failed|required|error|login|plain|command|success|denied|called|missing|invalid)\b)[^\s'\"]{6,})[ ]*$",
    ),
    shape("password", "auth", r"(?i)\"auth\"[ ](?:\"[^\"\n]{1,80}\"[ ])?\"(?P<secret>[^\"\n]+)\""),
    # … as a line of redis.conf or CONFIG SET whatever it is, in the middle of another line where it is no word
    shape(
        "password",
        "requirepass masterauth",
        r"(?im)(?:^[ \t]*|\bconfig\s+set\s+)(?:requirepass|masterauth)[ \t]+(?P<secret>[^\s'\"]+|'[^'\n]+'|\"[^\"\n]+\")",
    ),
    shape("password", "requirepass masterauth", rf"\b(?:requirepass|masterauth)[ \t]+(?P<secret>{_MIXED})"),
    shape(
        "password",
        "setuser user",
        r"(?i)\b(?:setuser[ ][^\s]+[ ]|user[ ][^\s]+[ ](?:on|off)[ ])[^\n>]{0,120}>(?P<secret>[^\s'\"]+)",
    ),
    # Headers without a scheme, DSNs of Sentry, signed URLs
    shape(
        "authorization",
        "authorization",
        rf"(?i)\bauthorization:[ ](?P<secret>(?!bearer\b|basic\b|digest\b|token\b){_MIXED})",
    ),
    shape(
        "authorization",
        "authorization",
        r"(?im)^[\w .:|\[\]-]{0,80}\bauthorization:[ ](?!bearer|basic|digest|token|required|missing|failed|denied|invalid)(?P<secret>[^\s'\"]{8,})[ ]*$",
    ),
    shape("token", "://", r"https?://(?P<secret>[^\s:/@'\"<>?#]{8,})@[\w.-]+(?::\d+)?/\d+\b"),
    shape(
        "signature",
        "sig= signature=",
        r"(?i)(?:(?<=[?&;])sig|(?<![a-z])(?:x-(?:amz|goog)-)?signature)=(?P<secret>[^\s&'\"<>]{6,})",
    ),
    shape("token", "x-amz-credential", r"(?i)x-amz-credential=(?P<secret>[^\s&'\"<>]{6,})"),
    shape("token", "_auth=", r"(?<![\w])_auth=(?P<secret>[^\s'\"]+)"),
    shape("secret", "secretstr(", r"\bSecretStr\(['\"](?!\*)(?P<secret>[^'\"\n]+)['\"]"),
    # One-time codes
    shape(
        "code",
        "otp code pin one-time",
        r"(?i)(?<![a-z])(?:(?:t?otp|mfa|2fa)(?:[ _-]?code)?|(?:recovery|verification|security|backup|one-time|login|auth)[ _-](?:code|pin|password)|pin)"
        r"[\"']?(?:[ ]is[ ]|\s?[:=]\s?)[\"']?(?P<secret>(?=[\w-]{0,40}\d)[\w-]{4,40})",
    ),
)
