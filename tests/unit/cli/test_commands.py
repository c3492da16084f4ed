"""Every command on a database of its own: what it prints, and how it says no."""

from __future__ import annotations

import io
import json
import sqlite3
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fakes.smtp_sink import SmtpSink
from tests.unit.cli.conftest import Cli

AGENT = "agent@example.com"
UNKNOWN = "0193f0a2-7b1c-7e00-8000-0123456789ab"


@pytest.fixture
def agent(cli: Cli) -> Cli:
    """With one mailbox."""
    cli.run("mailboxes", "create", AGENT)
    return cli


# config


def test_config_check_says_ok(empty: Cli) -> None:
    expected = {"file": str(empty.config_file), "result": "ok", "warnings": []}

    assert expected == empty.json("config", "check")


def test_config_check_warns_of_what_is_seldom_meant(empty: Cli) -> None:
    """It is no mistake, so the exit code is 0; a program finds it in its JSON."""
    text = empty.config_file.read_text()
    assert "[http]" in text
    url = 'public_url = "https://mail.example.com"'
    empty.config_file.write_text(text.replace("[http]", f"[http]\n{url}"))
    said = empty.run("config", "check")

    assert "warning: http.trusted_proxies = []: expected the address of the proxy" in said.err
    assert "ok" in said.out
    (warning,) = empty.json("config", "check")["warnings"]
    assert warning in said.err


def test_config_check_names_a_missing_certificate_file(empty: Cli) -> None:
    """The files that the configuration names are looked at."""
    empty.write_config('[tls]\ncertificate = "/nowhere/c.pem"\nprivate_key = "/nowhere/k.pem"\n')
    said = empty.run("config", "check", code=78)

    assert "tls.certificate: /nowhere/c.pem" in said.err
    assert "tls.private_key: /nowhere/k.pem" in said.err


def test_config_show_prints_what_config_check_takes(empty: Cli, tmp_path: Path) -> None:
    """Every default filled in, and TOML again; JSON has the same sections."""
    shown = empty.run("config", "show").out
    copy = tmp_path / "copy.toml"
    copy.write_text(shown)
    empty.bare("config", "check", "-c", str(copy))

    assert empty.json("config", "show")["daemon"]["hostname"] == "gateway.test"


# db


def test_db_init_makes_tables_and_keys_once(empty: Cli) -> None:
    """The second time it says that nothing was done."""
    first, second = empty.json("db", "init"), empty.json("db", "init")

    assert (first["tables"], first["schema"]) == ("made", first["revisions_run"][-1])
    assert (second["tables"], second["revisions_run"]) == ("there already, nothing was done", [])
    assert sorted(file.name for file in (empty.state_dir / "keys").iterdir()) == [
        "fernet.keys",
        "jwt.keys",
        "tracking.keys",
        "verp.keys",
    ]


def test_db_current_before_init_makes_nothing(empty: Cli) -> None:
    """To look at it is not to make it."""
    assert empty.json("db", "current")["current"] is None
    assert not empty.state_dir.exists()


def test_db_migrate_when_current_says_so(cli: Cli) -> None:
    found = cli.json("db", "migrate")

    assert (found["tables"], found["revisions_run"]) == (
        "of this version already, nothing was done",
        [],
    )


def test_db_history_ends_with_what_is_needed(cli: Cli) -> None:
    history, current = cli.json("db", "history")["items"], cli.json("db", "current")

    assert current["current"] == current["needed"] == history[-1]["revision"]


def test_newer_database_exits_65(cli: Cli) -> None:
    """Made by a later version: this one keeps its hands off."""
    with sqlite3.connect(cli.state_dir / "gatewayd.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    for words in (("db", "migrate"), ("status",)):
        assert "9999" in cli.run(*words, code=65).err


def test_db_init_of_an_older_schema_points_to_migrate(cli: Cli) -> None:
    """A migration is never done by a word that does not say so."""
    with sqlite3.connect(cli.state_dir / "gatewayd.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()

    assert "gatewayd db migrate" in cli.run("db", "init", code=69).err


def test_db_backup_is_for_its_owner_only(agent: Cli, tmp_path: Path) -> None:
    """The copy holds what the database holds, in a file of mode 0600."""
    copy = tmp_path / "copy.db"
    made = agent.json("db", "backup", str(copy))

    assert made["integrity"] == "ok"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert agent.json("db", "verify", str(copy))["revision"] == made["revision"]


@pytest.mark.parametrize(
    ("to", "expected"), [("gatewayd.toml", "exists"), ("no/such/copy.db", "no such directory")]
)
def test_db_backup_overwrites_nothing(cli: Cli, to: str, expected: str) -> None:
    before = cli.config_file.read_bytes()
    said = cli.run("db", "backup", str(cli.config_file.parent / to), code=69)

    assert expected in said.err
    assert before == cli.config_file.read_bytes()


def test_db_backup_and_verify_without_a_database(empty: Cli, tmp_path: Path) -> None:
    """They say what makes one, and leave no empty file behind."""
    copy = tmp_path / "copy.db"
    for words in (("db", "backup", str(copy)), ("db", "verify")):
        assert "gatewayd db init" in empty.run(*words, code=69).err
    assert not copy.exists()


def test_db_verify_of_a_damaged_file_exits_65(cli: Cli, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database at all" * 1000)

    assert "damaged" in cli.run("db", "verify", str(damaged), code=65).err
    assert "no such file" in cli.run("db", "verify", str(tmp_path / "none"), code=69).err


# mailboxes


def test_mailboxes_create_update_list_destroy(cli: Cli) -> None:
    """The life of one, with a / in its address, which must not be taken for a path."""
    address = "a/b@example.com"
    made = cli.json("mailboxes", "create", address, "--display-name", "Ann")
    changed = cli.json("mailboxes:update", address, "--on-in-doubt", "hold", "--track-smtp")

    assert (made["address"], made["on_in_doubt"]) == (address, "retry")
    assert (changed["display_name"], changed["on_in_doubt"], changed["track_smtp"]) == (
        "Ann",
        "hold",
        True,
    )
    assert [row["address"] for row in cli.json("mailboxes", "list")["items"]] == [address]
    assert address in cli.run("mailboxes", "list").out
    assert cli.json("mailboxes", "destroy", address)["tokens_revoked"] == 0
    assert cli.run("mailboxes", "list").err == "nothing found\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("create", AGENT), 69),
        (("create", ""), 65),
        (("create", "no address"), 65),
        (("create", "a@b@c"), 65),
        (("create", "x\x1b[31m@example.com"), 65),
        (("create", "x\u202e@example.com\u202e"), 65),
        (("create", "\udcff@example.com"), 65),
        (("create", "x" * 400 + "@example.com"), 65),
        (("create", "b@example.com", "--next-hop-port", "-1"), 64),
        (("create", "b@example.com", "--next-hop-port", "99999"), 64),
        (("create", "b@example.com", "--next-hop-port", "x"), 64),
        (("create", "b@example.com", "--next-hop-port", "25"), 65),
        (("create", "b@example.com", "--tracking", "some"), 65),
        (("create", "b@example.com", "--display-name", "a\r\nBcc: c@d.test"), 65),
        (("create", "b@example.com", "--next-hop-password-file", "/nowhere"), 78),
        (
            (
                *("create", "b@example.com", "--next-hop-host", "192.0.2.1"),
                *("--next-hop-tls-mode", "none-on-loopback"),
            ),
            65,
        ),
        (("update", "nobody@example.com", "--on-in-doubt", "hold"), 69),
        (("update", "", "--on-in-doubt", "hold"), 65),
        (("destroy", "nobody@example.com"), 69),
        (("validate", "nobody@example.com"), 69),
        (("validate", AGENT), 69),
    ],
)
def test_mailboxes_refuses_in_words(agent: Cli, words: Sequence[str], code: int) -> None:
    """Each mistake has its exit code and a sentence, and nothing a terminal obeys."""
    said = agent.run("mailboxes", *words, code=code)

    assert said.err.startswith("gatewayd: ")
    assert not set(said.err) & {"\x1b", "\u202e", "\r"}
    assert [row["address"] for row in agent.json("mailboxes", "list")["items"]] == [AGENT]


def test_password_comes_from_standard_input(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """With -, one line of it; it is never shown again."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    said = cli.run(
        *("mailboxes", "create", AGENT, "--next-hop-host", "127.0.0.1"),
        *("--next-hop-user", "u", "--next-hop-password-file", "-"),
    )

    assert "next_hop_user      u" in said.out
    assert "secret" not in said.out


def test_password_of_an_empty_standard_input_exits_64(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    cli.run("mailboxes", "create", AGENT, "--next-hop-password-file", "-", code=64)


def next_hop(port: int, *more: str) -> tuple[str, ...]:
    return (
        *("mailboxes", "create", AGENT, "--next-hop-host", "127.0.0.1"),
        *("--next-hop-port", str(port), "--next-hop-tls-mode", "none-on-loopback", *more),
    )


def test_validate_says_what_it_reached(cli: Cli) -> None:
    """Without a user there is nothing to log in to, and it says so."""
    with SmtpSink() as sink:
        cli.run(*next_hop(sink.port))
        found = cli.json("mailboxes", "validate", AGENT)

    assert found == {
        "address": AGENT,
        "next_hop": f"127.0.0.1:{sink.port}",
        "tls": "",
        "user": None,
        "logged_in": False,
    }


def test_validate_says_at_which_step_it_failed(cli: Cli, tmp_path: Path) -> None:
    """Refused at connect; no AUTH at the login; each with what to look at."""
    cli.run(*next_hop(1))
    said = cli.run("mailboxes", "validate", AGENT, code=69)

    assert "127.0.0.1:1 failed when we tried to connect: Connection refused" in said.err
    assert "firewall" in said.err
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("s3cret\n")
    with SmtpSink() as sink:
        cli.run(
            *("mailboxes", "update", AGENT, "--next-hop-port", str(sink.port)),
            *("--next-hop-user", "u", "--next-hop-password-file", str(secret)),
        )
        said = cli.run("mailboxes", "validate", AGENT, code=69)

    assert "failed when we tried to log in" in said.err
    assert "s3cret" not in said.err


# tokens


def test_tokens_issue_prints_the_token_alone(agent: Cli) -> None:
    """Standard output is the token, for `$(...)`; the rest is for the person."""
    said = agent.run("tokens", "issue", AGENT, "--name", "app", "--lifetime", "90d")

    assert said.out.count("\n") == 1
    assert said.out.count(".") == 2
    assert AGENT in said.err


def test_tokens_list_and_revoke(agent: Cli) -> None:
    """A token is listed without its secret, revoked once, and may be revoked again."""
    issued = agent.json(
        *("tokens:issue", AGENT, "--scope", "messages:send", "--allow-domain", "example.net"),
        *("--hourly", "5", "--daily", "50", "--sandbox"),
    )
    token_id = issued["token_id"]
    (listed,) = agent.json("tokens", "list", "--mailbox", AGENT)["items"]
    first = agent.json("tokens", "revoke", token_id)
    again = agent.json("tokens", "revoke", token_id)

    assert listed == {name: listed[name] for name in issued if name != "token"}
    assert (listed["hourly"], listed["daily"], listed["sandbox"]) == (5, 50, True)
    assert listed["allowed_recipient_domains"] == ["example.net"]
    assert (first["was_live"], again["was_live"]) == (True, False)
    assert issued["token"] not in agent.run("tokens", "list").out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("issue", "nobody@example.com"), 69),
        (("issue", ""), 65),
        (("issue", AGENT, "--hourly", "-5"), 64),
        (("issue", AGENT, "--hourly", "9" * 40), 65),
        (("issue", AGENT, "--lifetime", "soon"), 64),
        (("issue", AGENT, "--lifetime", "0d"), 64),
        (("issue", AGENT, "--lifetime", "-1d"), 64),
        (("issue", AGENT, "--lifetime", "999999999w"), 65),
        (("issue", AGENT, "--scope", "everything"), 65),
        (("issue", AGENT, "--allow-domain", "no domain"), 65),
        (("issue", AGENT, "--name", "x" * 5000), 65),
        (("list", "--mailbox", "nobody@example.com"), 69),
        (("revoke", UNKNOWN), 69),
        (("revoke", "a/../b"), 69),
        (("revoke", ".."), 65),
    ],
)
def test_tokens_refuses_in_words(agent: Cli, words: Sequence[str], code: int) -> None:
    assert agent.run("tokens", *words, code=code).err.startswith("gatewayd: ")


# messages


def test_messages_list_of_nothing(cli: Cli) -> None:
    """The table is empty and says so; JSON keeps its shape."""
    assert cli.run("messages", "list") == cli.run("messages:list")
    assert cli.run("messages", "list").err == "nothing found\n"
    assert cli.json("messages", "list") == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("list", "--state", "lost"), 65),
        (("list", "--since", "yesterday"), 65),
        (("list", "--cursor", "!!"), 65),
        (("list", "--limit", "0"), 64),
        (("list", "--limit", "-3"), 64),
        (("list", "--mailbox", "nobody@example.com"), 69),
        (("show", UNKNOWN), 69),
        (("show", "\x1b[31m"), 69),
        (("show", "a/explain"), 69),
        (("explain", UNKNOWN), 69),
        (("explain", ".."), 65),
        (("retry", UNKNOWN), 69),
        (("retry",), 65),
        (("cancel", "a/b"), 69),
    ],
)
def test_messages_refuses_in_words(cli: Cli, words: Sequence[str], code: int) -> None:
    said = cli.run("messages", *words, code=code)

    assert said.err.startswith("gatewayd: ")
    assert "\x1b" not in said.err


@pytest.mark.parametrize("verb", ["retry", "cancel", "hold", "release"])
def test_verb_on_a_filter_that_finds_nothing(cli: Cli, verb: str) -> None:
    """That is no failure: there is nothing to do."""
    assert cli.json("messages", verb, "--state", "held") == {"items": []}


def test_verb_on_several_goes_on_after_one_that_is_not_there(cli: Cli) -> None:
    """Each has its line; a script sees which."""
    found = cli.json("messages", "hold", UNKNOWN, UNKNOWN[:-1] + "c")

    assert [item["moved"] for item in found["items"]] == [0, 0]
    assert all(item["left"] for item in found["items"])


# suppressions


def test_suppressions_add_test_list_remove(agent: Cli) -> None:
    """For all mailboxes, and for one."""
    address = "Bob@example.net"
    agent.run("suppressions", "add", address, "--all", "--reason", "asked us")
    agent.run("suppressions:add", "c@example.net", "--mailbox", AGENT, "--expires", "2999-01-01")
    items = agent.json("suppressions", "list")["items"]

    assert {item["scope"] == "*" for item in items} == {True, False}
    assert agent.json("suppressions", "test", address)["suppressed"] is True
    assert agent.json("suppressions", "test", "c@example.net")["suppressed"] is False
    assert agent.json("suppressions", "remove", address, "--all")["removed"] is True
    assert agent.json("suppressions", "test", address)["suppressed"] is False


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("add", "x", "--all"), 65),
        (("add", "x@example.net"), 64),
        (("add", "x@example.net", "--all", "--mailbox", AGENT), 64),
        (("add", "x@example.net", "--all", "--expires", "2020-01-01"), 64),
        (("add", "x@example.net", "--all", "--expires", "3"), 64),
        (("add", "x@example.net", "--mailbox", "nobody@example.com"), 69),
        (("remove", "x@example.net"), 64),
        (("remove", "x@example.net", "--all"), 69),
        (("test", "x\x1b@example.net"), 65),
        (("list", "--cursor", "?"), 65),
    ],
)
def test_suppressions_refuses_in_words(agent: Cli, words: Sequence[str], code: int) -> None:
    said = agent.run("suppressions", *words, code=code)

    assert said.err.startswith("gatewayd: ")
    assert "\x1b" not in said.err


# domains


def test_domains_add_dns_list_remove(cli: Cli) -> None:
    """The records are lines of a zone file, and the same when they are asked for again."""
    added = cli.run("domains", "add", "example.com").out
    again = cli.run("domains", "dns", "example.com").out
    records = [line for line in again.splitlines() if not line.startswith(";")]

    assert added == again
    assert any('._domainkey.example.com. IN TXT "v=DKIM1' in line for line in records)
    assert {row["algorithm"] for row in cli.json("domains", "list")["items"]} == {
        row["algorithm"] for row in json.loads(cli.run("domains", "list", "--json").out)["items"]
    }
    assert cli.json("domains", "remove", "example.com")["removed"] is True
    assert cli.run("domains", "dns", "example.com", code=69).out == ""


@pytest.mark.parametrize("domain", ["", "..", "../x", "a b", "x\x1b.test", "\u202ex.test"])
def test_domains_refuses_in_words(cli: Cli, domain: str) -> None:
    said = cli.run("domains", "add", domain, code=65)

    assert not set(said.err) & {"\x1b", "\u202e"}


# keys, status, reload


def test_keys_rotate_in_three_phases(cli: Cli) -> None:
    """Each says what comes next; the keys are never shown."""
    for purpose in ("fernet", "jwt"):
        for phase in ("begin", "switch", "finish"):
            assert cli.json("keys", "rotate", purpose, phase)["hint"]
    states = [row["state"] for row in cli.json("keys", "list")["items"]]

    assert states == ["active"] * 4


@pytest.mark.parametrize(
    ("words", "code"), [(("nope", "begin"), 64), (("jwt", "end"), 64), (("jwt", "finish"), 69)]
)
def test_keys_rotate_refuses_in_words(cli: Cli, words: Sequence[str], code: int) -> None:
    assert cli.run("keys", "rotate", *words, code=code).err.startswith("gatewayd: ")


def test_damaged_key_file_is_told_in_full(cli: Cli) -> None:
    """An operator has to know which file, where a client of the API must not."""
    (cli.state_dir / "keys" / "verp.keys").write_text("nonsense\n")
    (cli.state_dir / "keys" / "verp.keys").chmod(0o600)

    assert "verp.keys" in cli.run("keys", "list", code=78).err


def test_status_without_a_daemon(cli: Cli) -> None:
    """It counts what is there, and has no process to speak of."""
    found = cli.json("status")

    assert (found["pid"], found["uptime_s"], found["ready"]) == (None, None, {})
    assert set(found["recipients"].values()) <= {0}


def test_reload_without_a_daemon_exits_69(cli: Cli) -> None:
    assert "no daemon runs" in cli.run("reload", code=69).err


def test_serve_with_a_bad_configuration_exits_78(empty: Cli) -> None:
    """As any command: the mistakes, and no traceback."""
    empty.write_config("[limits]\nrecipients = 0\n")

    assert "limits.recipients" in empty.run("serve", code=78).err


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_localserve_refuses_a_port(empty: Cli, port: str) -> None:
    empty.bare("localserve", "--http-port", port, code=64)


def test_messages_of_one_mailbox(agent: Cli) -> None:
    """The filter is known to the list and to the verbs."""
    assert agent.json("messages", "list", "--mailbox", AGENT)["items"] == []
    assert agent.json("messages", "cancel", "--mailbox", AGENT) == {"items": []}
