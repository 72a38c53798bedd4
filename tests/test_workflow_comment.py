"""The workflow that posts the report on a pull request, with a fake of GitHub's program gh."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import workflows
from project import ROOT
from workflows import Fakes

COMMIT = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
RUN = "https://github.com/someone/fma-genre/actions/runs/5"
MARK = "<!-- fma-genre report -->"
BOT = "github-actions[bot]"
# Answers from a file; jq is what gh runs for --jq.
GH = """
state = json.loads(pathlib.Path(os.environ["FAKE_STATE"]).read_text())
if arguments[:2] == ["run", "download"]:
    folder = pathlib.Path(arguments[arguments.index("--dir") + 1])
    if arguments[arguments.index("--name") + 1] != "report-2" or not state["files"]:
        sys.exit("no artifact matches any of the names or patterns provided")
    folder.mkdir()
    for name, source in state["files"].items():
        shutil.copy(source, folder / name, follow_symlinks=False)
elif "--jq" in arguments:
    query = ["jq", "--raw-output", arguments[arguments.index("--jq") + 1]]
    sys.exit(subprocess.run(query, input=json.dumps(state["comments"]), text=True).returncode)
elif "--method" not in arguments:
    print(json.dumps(state["pull"]))
"""

pytestmark = pytest.mark.skipif(not shutil.which("jq"), reason="needs jq, which is what gh's --jq runs")


def post(
    folder: Path, report: bytes | Path | None, comments: Sequence[tuple[int, str, str]] = (), /, **other: str
) -> tuple[int, list[list[str]]]:
    """Run the step that posts the comment.

    Args:
        folder: an empty folder.
        report: content of the downloaded report, a link that replaces it, or None without a report.
        comments: number, author and text of each earlier comment.
        other: variables that differ from those of a usual run.

    Returns:
        The exit code, and the calls that change comments.
    """
    fakes = Fakes(folder / "programs")
    fakes.add("gh", GH)
    source = folder / "source.md"
    if isinstance(report, bytes):
        source.write_bytes(report)
    elif report:
        source.symlink_to(report)
    pull = {"state": "open", "head": {"sha": COMMIT}}
    listed = [{"id": number, "user": {"login": author}, "body": body} for number, author, body in comments]
    files = {} if report is None else {"pull-request.md": str(source)}
    state: dict[str, Any] = {"pull": pull, "comments": listed, "files": files}
    (folder / "state.json").write_text(json.dumps(state))
    environment = {
        "PATH": fakes.path, "GH_TOKEN": "x", "GITHUB_REPOSITORY": "someone/fma-genre", "RUNNER_TEMP": str(folder),
        "RUN": "5", "ATTEMPT": "2", "URL": RUN, "TITLE": "report on pull request 12", "COMMIT": COMMIT,
        "CONCLUSION": "success", "FAKE_STATE": str(folder / "state.json"), **other,
    }  # fmt: skip
    done = workflows.run("comment", "Post the report", ROOT, environment)
    assert "Traceback" not in done.stderr
    return done.returncode, [call[1:] for call in fakes.calls if "--method" in call]


def posted(folder: Path, report: bytes | Path | None, **other: str) -> str:
    """The text of the comment on a pull request without earlier comments."""
    code, ((*_, text),) = post(folder, report, **other)
    assert code == 0
    return json.loads(text)["body"]


def test_the_first_lines_are_those_of_the_default_branch(tmp_path: Path) -> None:
    first, second, blank, *rest = posted(tmp_path, b"### Better\n").splitlines()
    assert first == MARK
    assert second == f"<sub>Written by the branch's code at {COMMIT}; [check]({RUN}): success.</sub>"
    assert (blank, rest) == ("", ["### Better"])


@pytest.mark.parametrize("report", [b"no mark", f"{MARK}\nmark".encode(), b"<!-- other -->\n", b"<details><!--"])
def test_one_comment_is_updated_whatever_the_report_is(tmp_path: Path, report: bytes) -> None:
    first = posted(tmp_path, report)
    again = tmp_path / "again"
    again.mkdir()
    comments = [(3, BOT, "Well done"), (5, "somebody", first), (7, BOT, first), (9, BOT, "> " + first)]
    code, (call,) = post(again, report, comments)
    assert code == 0
    assert call[:5] == ["api", "--method", "PATCH", "repos/someone/fma-genre/issues/comments/7", "--input"]
    assert json.loads(call[-1])["body"] == first


def test_a_comment_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    code, (call,) = post(tmp_path, b"report", [(5, "somebody", MARK), (6, BOT, "Well done")])
    assert code == 0
    assert call[:4] == ["api", "--method", "POST", "repos/someone/fma-genre/issues/12/comments"]


MENTIONS = [
    "@me", r"\@me", "&#64;me", "&#0064;me", "&#x40;me", "&#X0040;me", "&commat;me", "*&#64;me*", "@\n&#64;me",
    "<div>&#00000000064;me</div>", "<div>&#64me</div>", "<div>&#x40me</div>", "<div>&commat;<b>me</b></div>",
    "_@me_", "x <b>x</b>@me", "(@me", "<div>x &#32@me</div>", "<div>x &nbsp@me</div>", "x\u200b@me", "a@b.c @me",
]  # fmt: skip


@pytest.mark.parametrize("mention", MENTIONS)
def test_a_report_notifies_nobody(tmp_path: Path, mention: str) -> None:
    assert workflows.notified(mention) == {"me"}, "this test must see the mention"
    text = posted(tmp_path, mention.encode())
    assert workflows.notified(text) == set()
    assert "me" in text


@pytest.mark.parametrize("text", ["`train@cnn`, `train@cnn_stft`", "dvc repro train@cnn", "train@cnn"])
def test_names_of_stages_can_be_copied(tmp_path: Path, text: str) -> None:
    assert posted(tmp_path, text.encode()).endswith(f"\n\n{text}\n")


def test_other_character_references_stay(tmp_path: Path) -> None:
    text = "a &lt; b &amp; c &#65; &#640; &#x4; &comma;"
    expected = text.replace("&#640;", "&amp;#640;")  # begins like a reference without semicolon
    assert posted(tmp_path, text.encode()).endswith(f"\n\n{expected}\n")


@pytest.mark.parametrize("report", [None, b"", b" \n", Path("/etc/passwd"), Path("/nowhere")])
@pytest.mark.parametrize("conclusion", ["success", "failure", "cancelled"])
def test_a_report_that_is_missing_replaces_the_old_one(
    tmp_path: Path, report: bytes | Path | None, conclusion: str
) -> None:
    code, (call,) = post(tmp_path, report, [(7, BOT, f"{MARK}\nyesterday")], CONCLUSION=conclusion)
    assert code == 0
    assert call[2:4] == ["PATCH", "repos/someone/fma-genre/issues/comments/7"]
    text = json.loads(call[-1])["body"]
    assert text == f"{MARK}\n\n**There is no report** on {COMMIT}; [check]({RUN}): {conclusion}.\n"


def test_the_report_of_an_earlier_attempt_is_not_posted(tmp_path: Path) -> None:
    assert "**There is no report**" in posted(tmp_path, b"of the second attempt", ATTEMPT="3")
    upload = workflows.steps("report")[-1]["with"]["name"]
    assert upload == "report-${{ github.run_attempt }}"


@pytest.mark.parametrize("report", ["@" * 200_000, "ä𝄞&#64;" * 40_000, "x" * 60_001])
def test_a_long_report_is_cut_and_says_so_first(tmp_path: Path, report: str) -> None:
    text = posted(tmp_path, report.encode())
    assert len(text) < 65_536
    assert len(text.encode()) < 4 * 65_536
    assert "Only the first 60,000 characters are shown." in text.splitlines()[1]


def test_a_report_of_any_bytes_is_posted(tmp_path: Path) -> None:
    assert "caf\ufffd" in posted(tmp_path, b"caf\xe9 \x00 \xff")


@pytest.mark.parametrize("pull", [{"COMMIT": "0" * 40}, {"TITLE": "report on pull request 12; rm -rf"}, {"TITLE": "x"}])
def test_a_report_on_another_commit_or_pull_request_is_not_posted(tmp_path: Path, pull: dict[str, str]) -> None:
    code, calls = post(tmp_path, b"report", **pull)
    assert calls == []
    assert code == (1 if "TITLE" in pull else 0)
