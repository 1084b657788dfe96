"""A corpus of secrets as people leave them, none of which survives, and of ordinary lines, hardly one of which is touched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from flowrex_ops.redaction.redactor import Redactor

SECRET = "hunter2-Zq8"
PLANTED = (
    "PASSWORD={s}",
    "DB_PASSWORD={s}",
    "db_password: {s}",
    "POSTGRES_PASSWORD={s}",
    "PGPASSWORD={s}",
    "MYSQL_PWD={s}",
    "DB_PASS={s}",
    "dbpass={s}",
    "REDIS_PASSWORD={s}",
    "export API_KEY={s}",
    "api_key = '{s}'",
    "apikey={s}",
    'apiKey: "{s}"',
    "'api-key': '{s}'",
    "X-API-Key: {s}",
    "x-api-key: {s}",
    '"x-api-key": "{s}"',
    "client_secret={s}",
    '"clientSecret": "{s}"',
    "clientSecret={s}",
    "refresh_token={s}",
    '"refreshToken":"{s}"',
    "access_token={s}",
    "id_token={s}",
    "SECRET_KEY='{s}'",
    "SECRET_KEY_BASE={s}",
    "DJANGO_SECRET_KEY={s}",
    "JWT_SECRET={s}",
    "JWT_SIGNING_KEY={s}",
    "ENCRYPTION_KEY={s}",
    "AWS_SECRET_ACCESS_KEY={s}",
    "aws_secret_access_key = {s}",
    '"SecretAccessKey": "{s}"',
    '"SessionToken": "{s}"',
    "AWS_SESSION_TOKEN={s}",
    "AZURE_CLIENT_SECRET={s}",
    "AccountKey={s}",
    "SharedAccessKey={s}",
    "GOOGLE_CREDENTIALS={s}",
    "BROKER_CREDENTIALS={s}",
    "credentials: {s}",
    "passphrase: {s}",
    "passwd={s}",
    "password : {s}",
    "Password: {s}",
    "user=bob password={s} host=db",
    "host=db;Password={s};Database=x",
    "Server=db;Uid=a;Pwd={s};",
    "password={s}&user=x",
    "?token={s}&x=1",
    "?api_key={s}",
    "?access_token={s}",
    "&signature={s}",
    "X-Amz-Signature={s}",
    "X-Amz-Credential={s}",
    "X-Amz-Security-Token={s}",
    "Signature={s}",
    "X-Goog-Signature={s}",
    "se=2026&sig={s}",
    "CREATE ROLE app LOGIN PASSWORD '{s}'",
    "ALTER USER app WITH PASSWORD '{s}'",
    "ALTER ROLE app ENCRYPTED PASSWORD '{s}'",
    "CREATE USER 'a'@'%' IDENTIFIED BY '{s}'",
    "SET PASSWORD = '{s}'",
    "IDENTIFIED WITH mysql_native_password BY '{s}'",
    "dblink_connect('host=x password={s}')",
    "CREATE USER MAPPING FOR a OPTIONS (user 'b', password '{s}')",
    "INSERT INTO users (name, password) VALUES ('bob', '{s}')",
    "UPDATE users SET password = '{s}' WHERE id = 1",
    "UPDATE users SET password_hash='{s}'",
    "SELECT crypt('{s}', gen_salt('bf'))",
    "curl -u bob:{s} https://x",
    "curl --user bob:{s} https://x",
    "curl -H 'Authorization: Bearer {s}' x",
    'curl -H "X-Auth-Token: {s}" x',
    "mysql -u root -p{s} db",
    "mysql --password={s}",
    "psql --password {s}",
    "redis-cli -a {s} ping",
    "redis-cli --pass {s} ping",
    "sshpass -p {s} ssh x",
    "docker login -u bob -p {s}",
    "docker login --password {s}",
    "wget --password={s} x",
    "app --db-password {s} --x",
    "app --token {s}",
    "app --api-key {s}",
    "app --secret={s}",
    "htpasswd -b file bob {s}",
    "openssl enc -pass pass:{s}",
    "PGPASSWORD={s} psql -h db",
    "helm upgrade --set db.password={s}",
    "kubectl create secret generic x --from-literal=password={s}",
    "http -a bob:{s} example.org",
    "vault login {s}",
    "ansible-playbook -e db_password={s}",
    "mongosh -u a -p {s}",
    "smbclient -U bob%{s}",
    "AUTH {s}",
    "AUTH default {s}",
    '"AUTH" "{s}"',
    "HELLO 3 AUTH default {s}",
    "CONFIG SET requirepass {s}",
    "requirepass {s}",
    "masterauth {s}",
    "ACL SETUSER bob on >{s} ~* +@all",
    "user default on >{s} ~* &* +@all",
    "MIGRATE h 6379 k 0 5000 AUTH {s}",
    "Authorization: Basic {s}",
    "Authorization: Bearer {s}",
    "Authorization: Token {s}",
    "authorization: {s}",
    "Proxy-Authorization: Basic {s}",
    "Cookie: session={s}",
    "Set-Cookie: sid={s}; Path=/",
    "X-Auth-Token: {s}",
    "X-Vault-Token: {s}",
    "X-CSRF-Token: {s}",
    "PRIVATE-TOKEN: {s}",
    "X-Access-Token: {s}",
    "Api-Key: {s}",
    "DD-API-KEY: {s}",
    "X-Secret: {s}",
    "postgresql://app:{s}@db/x",
    "redis://:{s}@cache:6379/0",
    "https://bob:{s}@example.org/",
    "amqp://u:{s}@mq",
    "mongodb+srv://u:{s}@c",
    "https://{s}@o1.ingest.sentry.io/12",
    "https://abcd:{s}@sentry.example.org/3",
    "postgresql+asyncpg://a:{s}@db/x",
    "jdbc:postgresql://db/x?user=a&password={s}",
    "smtp://a%40b:{s}@mail",
    "otp={s}",
    "otp_code: {s}",
    "one-time password is {s}",
    "verification code: {s}",
    "your password is {s}",
    "with password {s}",
    "password '{s}'",
    'using password "{s}"',
    "wrong password: {s}",
    "PIN: {s}",
    "totp_secret={s}",
    "recovery_code={s}",
    "mfa_code={s}",
    "password='{s}'",
    'password="{s}"',
    "{{'password': '{s}'}}",
    '{{"db": {{"password": "{s}"}}}}',
    "Settings(password='{s}', host='x')",
    "SecretStr('{s}')",
    "    password = '{s}'",
    "  token: str = '{s}'",
    "kwargs={{'passwd': '{s}'}}",
    '\\"password\\": \\"{s}\\"',
    "%22password%22%3A%22{s}%22",
    "password%3D{s}",
    "&quot;password&quot;: &quot;{s}&quot;",
    "<password>{s}</password>",
    '<add key="Password" value="{s}"/>',
    "password=>{s}",
    "[password] => {s}",
    "password |{s}|",
    '"password":["{s}"]',
    "passwords: ['{s}', 'x']",
    "password: !!str {s}",
    "password: >-\n  {s}\n",
    "DB_PASSWORD\t{s}",
    '"key":"password","value":"{s}"',
    "name: DB_PASSWORD\n  value: {s}",
    '{{"name": "DB_PASSWORD", "value": "{s}"}}',
    "Environment=DB_PASSWORD={s}",
    "-e DB_PASSWORD={s}",
    "set password {s}",
    "machine x login y password {s}",
    "//registry.npmjs.org/:_authToken={s}",
    "_auth={s}",
    '_password="{s}"',
)
"""Texts with a place for the secret: names, command lines, SQL, Redis, headers, URLs, one-time codes, markup."""

BY_SHAPE = (
    "npm_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
    "AIzaSyA1234567890abcdefghijklmnopqrstuvw",
    "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD",
    "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789",
    "SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
    "123456789:AAabcdefghijklmnopqrstuvwxyz0123456789",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
    "glpat-abcdefghij0123456789",
    "xoxb-123456789012-abcdefghijklmnop",
    "xapp-1-A0123456789-1234567890123-abcdef0123456789abcdef",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "MTA1NzM0NTY3ODkwMTIzNDU2.GabcdE.abcdefghijklmnopqrstuvwxyz0123456789AB",
    "dop_v1_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "hvs.CAESIabcdefghijklmnopqrstuvwxyz0123456789",
    "sq0atp-abcdefghijklmnopqrstuv",
    "shpat_0123456789abcdef0123456789abcdef",
    "pypi-AgEIcHlwaS5vcmcCJDAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMA",
    "rk_live_abcdefghijklmnop",
    "whsec_abcdefghijklmnop0123",
    "key-0123456789abcdef0123456789abcdef",
    "AC0123456789abcdef0123456789abcdef:0123456789abcdef0123456789abcdef",
    "ya29.a0AfH6SMabcdefghijklmnopqrstuvwxyz0123456789",
    "1//0abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
    "$2y$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
    "$apr1$abcdefgh$ABCDEFGHIJKLMNOPQRSTU/",
    "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    "$6$rounds=5000$saltsalt$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwx",
    "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0$c3RvcmVka2V5c3RvcmVka2V5c3RvcmVka2V5MTI=:c2VydmVya2V5c2VydmVya2V5c2VydmVya2V5MTI=",
    "md5a1b2c3d4e5f60718293a4b5c6d7e8f90",
    "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "https://discord.com/api/webhooks/123456789012345678/abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789",
    "4111 1111 1111 1111",
    "5500-0000-0000-0004",
    "4111111111111111",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA1234567890abcdef\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\n-----END OPENSSH PRIVATE KEY-----",
    "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ",
    "lin_api_abcdefghijklmnopqrstuvwxyz0123456789ABCD",
    "ATATT3xFfGF0abcdefghijklmnopqrstuvwxyz0123456789",
    "PMAK-0123456789abcdef01234567-0123456789abcdef0123456789abcdef01",
    "dckr_pat_abcdefghijklmnopqrstuvwxyz0",
    "doo_v1_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "gsk_abcdefghijklmnopqrstuvwxyz0123456789",
    "hf_abcdefghijklmnopqrstuvwxyz012345",
    "r8_abcdefghijklmnopqrstuvwxyz0123456789A",
    "nvapi-abcdefghijklmnopqrstuvwxyz0123456789",
    "sntrys_eyJpYXQiOjE2abcdefghijklmnop_abcdefghij",
    "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
    "EAACEdEose0cBA1234567890abcdefghijklmnop",
    "amzn.mws.4ea38b7b-f563-7709-4bae-87aea4aa5c7f",
)
"""What gives itself away, whatever stands around it. In two pieces, so that nobody's scanner takes them for real ones."""

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("secret", ["Tr0ub4dor&3", "sesame-eight", "48291734"])
def test_nor_does_one_of_another_kind(secret: str) -> None:
    """Letters and a hyphen, digits alone: where a name, an option or a statement says what it is."""
    ordinary = ("code", "otp", "PIN", "password |", "with password")  # where only what is no word can be told from one
    texts = [text for text in PLANTED if secret != "sesame-eight" or not any(word in text for word in ordinary)]
    left = [text for text in texts if secret in Redactor().text(text.format(s=secret))]
    assert left == []


@pytest.mark.parametrize("text", PLANTED)
def test_no_planted_secret_survives(text: str) -> None:
    """Wherever it stands: alone, in a longer line, as a member of JSON."""
    planted = text.format(s=SECRET)
    redactor = Redactor()
    for reported in (planted, f"backend-1 | 2026-11-29 04:12:33 INFO {planted}", f"first\n{planted}\nlast"):
        if "\n" in text or reported == planted or not text.startswith((" ", "[")):
            assert SECRET not in redactor.text(reported), reported
    assert SECRET not in json.dumps(redactor.json({"message": planted, "lines": [planted]}))


@pytest.mark.parametrize("secret", BY_SHAPE)
def test_no_secret_survives_that_gives_itself_away(secret: str) -> None:
    """Keys and tokens of providers, hashes of passwords, card numbers, private keys."""
    assert secret not in Redactor().text(f"found {secret} in the log")


def ordinary() -> list[str]:
    """Lines of logs, of SQL, of tracebacks, of this library's own code; hashes, UUIDs and order ids."""
    chance = Random(7)  # noqa: S311  (examples, the same each time)
    files = [*(ROOT / "tests" / "logs" / "samples").iterdir(), *(ROOT / "flowrex_ops").rglob("*.py")]
    found = [
        line for file in files if "redact" not in str(file) for line in file.read_text(encoding="utf-8").splitlines()
    ]
    for _ in range(2000):
        uuid, number = UUID(int=chance.getrandbits(128)), chance.randrange(10**9)
        digest = hashlib.sha256(uuid.bytes).hexdigest()
        found += [
            f"2026-11-29T04:12:33.123Z INFO order {uuid} filled at 1.{number} units={number}",
            f'10.0.0.7 - - "GET /api/orders/{uuid}?page=3&sort=asc HTTP/1.1" 200 {number} "-" "curl/8.1"',
            f"image sha256:{digest} commit {digest[:40]} trace_id={digest[:32]} session:{digest[:24]}",
            f"DETAIL:  Key (id)=({uuid}) already exists. order_id=ORD-{digest[:12]} max_tokens=4096 tokens: {number}",
            f"SELECT * FROM trades WHERE id = {number} AND symbol = 'EURUSD' -- wrong password for user bob",
            "        proxy_pass http://backend2:8000; proxy_set_header Cookie $http_cookie;",
            'FATAL:  password authentication failed for user "flowrex"',
        ]
    return [line for line in found if line.strip()]


def test_ordinary_lines_are_left_alone() -> None:
    """At most one of a thousand is changed."""
    redactor, lines = Redactor(), ordinary()
    changed = [line for line in lines if redactor.text(line) != line]
    assert len(lines) > 20_000
    assert len(changed) <= len(lines) / 1000, changed[:20]
