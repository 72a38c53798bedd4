"""Post the report on a pull request as a comment, or update the comment of an earlier push.

The code of the branch wrote the report and chose the title of the run, so both may be hostile. The report is posted
below a line of this script, cut to the size of a comment, and without mentions of people. The title only names the pull
request: its latest commit must be that of the run.

comment.yml sets the environment variables. Needs the program gh and no packages.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from posted import MAX_LENGTH, postable

MARK = "<!-- fma-genre report -->"  # identifies the comment
MAX_BYTES = 4 * MAX_LENGTH  # of the file that is read


def main() -> None:
    repository, commit = os.environ["GITHUB_REPOSITORY"], os.environ["COMMIT"]
    number = pull_request(os.environ["TITLE"])
    pull = json.loads(gh("api", f"repos/{repository}/pulls/{number}"))
    if pull["state"] != "open" or pull["head"]["sha"] != commit:
        print(f"{commit} is not the latest commit of an open pull request")
        return
    text = comment(download(Path(os.environ["RUNNER_TEMP"], "report")))
    comments = f"repos/{repository}/issues/{number}/comments"
    own = f'.[] | select(.user.login == "github-actions[bot]" and (.body | startswith("{MARK}"))) | .id'
    earlier = gh("api", "--paginate", comments, "--jq", own).split()
    target = ("PATCH", f"repos/{repository}/issues/comments/{earlier[0]}") if earlier else ("POST", comments)
    gh("api", "--method", *target, "--input", "-", given=json.dumps({"body": text}))


def pull_request(title: str) -> str:
    """The number of the pull request that the title of a run names."""
    found = re.fullmatch(r"report on pull request ([0-9]+)", title)
    return found[1] if found else sys.exit(f"comment: expected a title with a number, found {title!r}")


def download(folder: Path) -> str:
    """Download the report of the run to a new folder; return its beginning, or nothing if there is no report."""
    name = f"report-{os.environ['ATTEMPT']}"  # the artifacts of earlier attempts stay
    subprocess.run(["gh", "run", "download", os.environ["RUN"], "--name", name, "--dir", str(folder)], check=False)
    path = folder / "pull-request.md"
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(MAX_BYTES).decode(errors="replace").strip()


def comment(report: str) -> str:
    """Format the comment. The first lines do not depend on the report."""
    check = f"[check]({os.environ['URL']}): {os.environ['CONCLUSION']}"
    if not report:
        return f"{MARK}\n\n**There is no report** on {os.environ['COMMIT']}; {check}.\n"
    text, note = postable(report)
    source = f"Written by the branch's code at {os.environ['COMMIT']}; {check}. {note}".strip()
    return f"{MARK}\n<sub>{source}</sub>\n\n{text}\n"


def gh(*arguments: str, given: str = "") -> str:
    """Return the output of GitHub's program; exit if it fails."""
    done = subprocess.run(["gh", *arguments], input=given, stdout=subprocess.PIPE, text=True, check=False)
    return sys.exit("comment: gh failed") if done.returncode else done.stdout


if __name__ == "__main__":
    main()
