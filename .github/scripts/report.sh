#!/usr/bin/env bash
# Writes the report on a pull request to pull-request.md and to the summary of the run. Exits with the code of
# src/diff.py.
#
# The checkout must be GitHub's merge commit with its two parents. The first parent is the base.
# BASE: name of the base branch. URL: address of the branch's files in a browser.
set -euo pipefail

git branch --force -- "$BASE" HEAD^1
python src/diff.py --url "$URL" -- "$BASE" | tee pull-request.md >> "$GITHUB_STEP_SUMMARY"
