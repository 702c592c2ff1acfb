"""Writes recording.yaml and alerts.yaml beside this file."""

from deploy.monitoring.files import FOLDER, rule_files

for name, text in rule_files().items():
    (FOLDER / name).write_text(text)
