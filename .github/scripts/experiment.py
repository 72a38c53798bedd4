"""Run an experiment on a self-hosted runner, and propose its results as a pull request.

    python3 .github/scripts/experiment.py prepare | run | store | propose

These are the steps of experiment.yml, which sets the environment variables. They work in a clone of their own in
FMA_HOME, because the next checkout deletes from its folder everything that git ignores: DVC's cache, unfinished work
and the installed packages. `prepare` installs packages, so this script needs none.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from posted import postable

# DVC lets Hydra read the overrides. Hydra would replace ${oc.env:NAME}, even if it is written as $\{oc.env:NAME\}. DVC
# passes the names of models to a shell. It would also take FILE:KEY=VALUE, and change e.g. a command in dvc.yaml.
KEY = r"[a-zA-Z_][\w-]*(\.[\w-]+)*"
OVERRIDE = re.compile(rf"(\+\+|\+)?{KEY}=[\w.,:/+\[\]{{}} -]*|~{KEY}", re.ASCII)
MAX_TITLE_LENGTH = 200
LOCKS = (".git/index.lock", ".dvc/tmp/rwlock")  # left by a killed run; no other run uses the clone
OWN_LOGIN = ("-c", "credential.helper=", "-c", "credential.helper=!gh auth git-credential")  # "" removes the runner's


def main() -> None:
    steps = {"prepare": prepare, "run": run, "store": store, "propose": propose}
    try:
        steps[sys.argv[1]]()
    except subprocess.CalledProcessError as error:
        sys.exit(f"experiment: {' '.join(error.cmd[:2])}: exit code {error.returncode}")


# Steps. -----------------------------------------------------------------------------------------------------------


def prepare() -> None:
    """Check the inputs, update the clone to the commit of the checkout, install packages, and pull data."""
    parse_overrides(os.environ["OVERRIDES"])
    if (kind := os.environ["GITHUB_REF_TYPE"]) != "branch":
        sys.exit(f"experiment: expected a branch, found the {kind} {os.environ['GITHUB_REF_NAME']}")
    folder = clone()
    folder.mkdir(parents=True, exist_ok=True)
    call("git", "init", "--quiet")
    for lock in LOCKS:
        (folder / lock).unlink(missing_ok=True)
    call("git", "fetch", "--quiet", "--depth=1", checkout().as_uri(), "HEAD")
    call("git", "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
    call("git", "branch", "--force", "--", os.environ["GITHUB_REF_NAME"], "HEAD")
    call("git", "clean", "--quiet", "-ffd")
    call("git", "config", "user.name", "github-actions")
    call("git", "config", "user.email", "github-actions@users.noreply.github.com")
    call("make", ".venv/installed")
    if not output("dvc", "config", "core.remote", check=False):
        sys.exit("experiment: expected a default DVC remote in .dvc/config, found none; see docs/collaboration.md")
    call("dvc", "pull", "--allow-missing")


def run() -> None:
    """Run the pipeline with the overrides; pull what earlier experiments have stored."""
    overrides = parse_overrides(os.environ["OVERRIDES"])
    call("dvc", "exp", "run", "--pull", *(part for override in overrides for part in ("--set-param", override)))


def store() -> None:
    """Push the results of all finished stages to the DVC remote and as a branch, even if a later stage has failed."""
    call("dvc", "push", "--run-cache")
    call("git", "add", "--all")
    if not output("git", "status", "--porcelain"):
        print("Nothing has changed")
        return
    call("git", "commit", "--quiet", "--message", title())
    push(f"HEAD:refs/heads/{branch()}")


def propose() -> None:
    """Open a pull request with the report."""
    base, commit = os.environ["GITHUB_REF_NAME"], output("git", "rev-parse", "HEAD")
    if commit == output("git", "rev-parse", f"refs/heads/{base}"):
        return
    report = output("python", "src/diff.py", "--url", f"{address()}/blob/{commit}", "--", base, check=False)
    place = ("--repo", os.environ["GITHUB_REPOSITORY"], "--base", base, "--head", branch())
    call("gh", "pr", "create", *place, "--title", title(), "--body-file", "-", given=body(report))


# Parts of the steps. ----------------------------------------------------------------------------------------------


def parse_overrides(text: str) -> list[str]:
    """Split overrides as a shell splits words; exit if one of them is more than a change of params.yaml."""
    try:
        overrides = shlex.split(text)
    except ValueError:
        sys.exit(f"overrides: expected pairs of quotes, found {text!r}")
    for override in overrides:
        if not OVERRIDE.fullmatch(override):
            sys.exit(
                "overrides: expected KEY=VALUE, ++KEY=VALUE or ~KEY, with a value of letters, digits, spaces"
                f" and _.,:/+-[]{{}}, found {override!r}"
            )
    return overrides


def title() -> str:
    """Title of the commit and of the pull request."""
    return f"Results of {' '.join(parse_overrides(os.environ['OVERRIDES'])) or 'the pipeline'}"[:MAX_TITLE_LENGTH]


def body(report: str) -> str:
    """Description of the pull request."""
    if not report:
        run_address = f"{address()}/actions/runs/{os.environ['GITHUB_RUN_ID']}"
        return f"There is no report. See {run_address} for the reason."
    text, note = postable(report)
    return f"<sub>{note}</sub>\n\n{text}" if note else text


def branch() -> str:
    """Name of the branch with the results."""
    return f"experiment-{os.environ['GITHUB_RUN_ID']}-{os.environ['GITHUB_RUN_ATTEMPT']}"


def address() -> str:
    """Address of the repository."""
    return f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"


def checkout() -> Path:
    return Path(os.environ["GITHUB_WORKSPACE"]).resolve()


def clone() -> Path:
    """The folder of the clone in FMA_HOME; exit if it is in the checkout, which would delete it."""
    home = Path(os.environ.get("FMA_HOME") or Path.home() / ".cache/fma-genre").resolve()
    if home.is_relative_to(checkout()):
        sys.exit(f"experiment: FMA_HOME: expected a folder outside the checkout, found {home}")
    return home / "experiments" / os.environ["GITHUB_REPOSITORY"]


def push(reference: str) -> None:
    """Push to the repository with GH_TOKEN; git would prefer a password in the user's ~/.netrc to it."""
    command = ("git", *OWN_LOGIN, "push", "--quiet", f"{address()}.git", reference)
    with tempfile.TemporaryDirectory() as home:  # empty: without .netrc and .gitconfig, which may replace the address
        variables = {**environment(), "HOME": home, "GIT_CONFIG_GLOBAL": os.devnull}
        subprocess.run(command, cwd=clone(), env=variables, check=True)


def call(*command: str, given: str | None = None) -> None:
    """Run a command in the clone; raise CalledProcessError if it fails."""
    subprocess.run(command, cwd=clone(), env=environment(), input=given, text=True, check=True)


def output(*command: str, check: bool = True) -> str:
    """Like `call`, but return what the command prints."""
    done = subprocess.run(
        command, cwd=clone(), env=environment(), stdout=subprocess.PIPE, encoding="utf-8", check=check
    )
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """Variables of the commands: the clone's programs come first, and git never asks for a password."""
    path = f"{clone() / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "GIT_TERMINAL_PROMPT": "0"}


if __name__ == "__main__":
    main()
