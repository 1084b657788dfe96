"""Which kind of trouble an error's text speaks of, in the words of brokers, their libraries and databases."""

from __future__ import annotations

import re

_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("timeout", r"(httpx|httpcore)\.PoolTimeout"),  # of its own connections, not of the database's
        ("risk", r"\brisk\b|max_notional|(position|exposure|notional) limit"),
        (
            "database",
            (
                r"reason=database|^database$|psycopg|asyncpg|connection pool\b|queuepool|pool ?timeout|couldn't get a connection"
                r"|permission denied for|violates .*constraint|sqlstate|deadlock detected|lock timeout|read-only transaction"
                r"|(relation|column|role|database|table|type) \S+ does not exist|database (error|unavailable|is locked)"
                r"|too many clients|connection slots|operationalerror"
            ),
        ),
        (
            "credentials",
            (
                r"(http|status|code)\D{0,3}40[13]\b|\b40[13]\b[ ,:].{0,12}(client error|message|unauth|forbid)|un-?authori[sz]ed|forbidden"
                r"|insufficient authorization|not authori[sz]ed|authori[sz]ation failed|credential|authenticat|invalid ?nonce|account ?suspended"
                r"|(invalid|expired|revoked|wrong|bad)[ _-](api[ _-]?)?(key|token|signature)|(key|token) (has |is |was )?(expired|invalid|revoked)"
                r"|permission ?denied|log ?in failed"
            ),
        ),
        (
            "rejected",
            (
                r"(http|status|code)\D{0,3}4(00|04|09|22|29)\b|\b4(00|04|09|22|29)\b[ ,:'].{0,12}(client error|message|bad|not found|unproc|too many)"
                r"|rate[ _-]?limit|too[ _-]many[ _-]requests|bad request|reject|cancell?ed|halt(ed)?\b|market[ _](is[ _])?closed|not[ _]trad(e?able|ing)"
                r"|insufficient[ _](funds|margin|balance|\w+ trading buying power|buying power)|insufficient ?funds|no money|requote|bad ?symbol"
                r"|invalid ?(order|volume|price|stops|request|quantity|instrument|symbol)|filter failure|lot_size|min_notional|trade disabled"
                r"|autotrading disabled|wash trade|not[ _]allowed|(size|units|precision)\w*[ _](exceeded|must)|limit_exceeded|violation|last_look"
                r"|ddosprotection|time_in_force"
            ),
        ),
        ("unreachable", r"connect\w* ?time[d ]?[ -]?out|no (ipc )?connection"),
        ("timeout", r"timed? ?-?out|no answer in|did not answer|deadline exceeded"),
        (
            "unreachable",
            (
                r"refused|unreachable|un-?available|not ?available|maintenance|reset|resol|name or service|no route|network|broken pipe|disconnected"
                r"|(cannot|can't|could not|failed to|unable to) (connect|establish|reach)|connect(ion)? (attempts? |call )?(failed|aborted|error|lost)"
                r"|(http|status|code|error)\D{0,3}5\d\d\b|\b5\d\d\b[ ,:'].{0,12}(server error|message|internal|bad gateway|service|gateway)"
                r"|internal server error|bad gateway|malformed|not json|remote end closed|\beof\b|\bssl\b|certificate verify|max retries exceeded"
            ),
        ),
    )
)


def classify(text: str) -> str:
    """Which kind of trouble an error's text speaks of: the first that fits, or ``other``.

    One of ``risk``, ``database``, ``credentials``, ``rejected`` (also for too many requests), ``timeout``,
    ``unreachable`` (also for 5xx and nonsense).
    """
    return next((kind for kind, pattern in _KINDS if pattern.search(text)), "other")
