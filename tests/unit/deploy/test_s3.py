import stat

from deploy import golang, s3


def program(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_a_go_on_the_path_builds_the_server(tmp_path, monkeypatch):
    go = program(tmp_path / "go", "echo go1.26.3")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert golang.go_program() == go


def test_without_a_go_or_with_an_old_one_the_packaged_one_is_used(tmp_path, monkeypatch):
    packaged = tmp_path / "packages" / "go"
    for name in ("bin/go", "pkg/tool/linux_amd64/link"):
        (packaged / name).parent.mkdir(parents=True)
        (packaged / name).write_text("")
    monkeypatch.setattr(golang, "packages", lambda name: tmp_path / "packages")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert golang.go_program() == packaged / "bin" / "go"
    program(tmp_path / "go", "echo go1.22.1")
    assert golang.go_program() == packaged / "bin" / "go"
    assert (packaged / "pkg/tool/linux_amd64/link").stat().st_mode & stat.S_IXUSR


def test_every_module_is_named_by_its_checksum_and_no_address_is_kept():
    sums = (s3.MODULES / "go.sum").read_text()
    assert "github.com/versity/versitygw v1.8.0 h1:" in sums
    assert "://" not in sums + (s3.MODULES / "go.mod").read_text()
