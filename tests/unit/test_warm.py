"""Jobs that are forked from the warm parent behave as if they had started by themselves."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from nepotism.runtime.warm import first_use, head
from nepotism.weights import frozen

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux only")

# Says that it was imported, and what it sees; then does what it is told.
SCRIPT = """
import os, signal, sys, time
from pathlib import Path

with open(os.environ["IMPORTED"], "a") as file:
    file.write(f"{__name__}\\n")


def stop(number, frame):
    print("told to stop")
    sys.exit(5)


def main():
    print(sys.argv[1:], os.getcwd(), os.environ.get("COLOUR"), os.environ.get("OF_PARENT"), flush=True)
    print(sys.stdin.read(), file=sys.stderr)
    if "fail" in sys.argv:
        raise ValueError("as told")
    if "exit" in sys.argv:
        sys.exit(7)
    if "words" in sys.argv:
        sys.exit("said at the end")
    if "die" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    if "wait" in sys.argv:
        signal.signal(signal.SIGTERM, stop)
        Path("pid").write_text(f"{os.getpid()} {os.getppid()}")
        for _ in range(600):
            if Path("go").exists():
                break
            time.sleep(0.05)
        Path("done").write_text("")


if __name__ == "__main__":
    main()
"""


@pytest.fixture
def environment(tmp_path):
    counts = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    return {**os.environ, **counts, "IMPORTED": str(tmp_path / "imported")}


@pytest.fixture
def parent(environment):
    made = head.WarmParent(1, {**environment, "OF_PARENT": "yes"})
    yield made
    made._process.kill()
    made._process.wait()


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def shell(parent, script, *words):
    return ["bash", "-c", parent.shell_prefix() + 'python "$@"', "bash", str(script), *words]


def run(parent, script, environment, *words, **options):
    command = shell(parent, script, *words)
    return subprocess.run(
        command, env=environment, cwd=script.parent, capture_output=True, text=True, timeout=60, check=False, **options
    )


def started(parent, script, environment, *words):
    """A client whose job waits, the client itself, and the numbers of the job's process and of that one's parent."""
    client = [sys.executable, "-I", "-S", head.HERE / "client.py", parent._socket, script, "wait", *words]
    process = subprocess.Popen(client, env=environment, cwd=script.parent, stdin=subprocess.DEVNULL)
    until(lambda: (script.parent / "pid").exists() and (script.parent / "pid").read_text())
    return process, *map(int, (script.parent / "pid").read_text().split())


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def alive(pid):
    """Whether there is such a process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_job_has_its_own_words_folder_environment_and_streams(parent, script, environment):
    done = run(parent, script, {**environment, "COLOUR": "red"}, "a b", "c", input="given\n")
    assert done.stdout == f"['a b', 'c'] {script.parent} red None\n"
    assert done.stderr == "given\n\n"
    assert done.returncode == 0


def test_what_a_script_imports_is_imported_once_for_all_jobs(parent, script, environment, tmp_path):
    (tmp_path / "library.py").write_text(f"open({str(tmp_path / 'library')!r}, 'a').write('x')\n")
    script.write_text("import library\n" + SCRIPT)
    for _ in range(3):
        assert run(parent, script, environment).returncode == 0
    assert (tmp_path / "library").read_text() == "x"
    assert (tmp_path / "imported").read_text().split() == ["nepotism_warm", *["__main__"] * 3]


def test_what_libraries_do_at_first_use_is_done_once_for_all_jobs(parent, script, environment):
    script.write_text(
        "import sys\nimport pyarrow\nimport transformers.conversion_mapping as conversions\n"
        "if __name__ == '__main__':\n"
        "    print('pandas' in sys.modules, conversions._checkpoint_conversion_mapping_cache is not None)\n"
    )
    assert run(parent, script, environment).stdout == "True True\n"
    alone = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True)
    assert alone.stdout == "False False\n"


FROZEN = """
import sys
from pathlib import Path
from nepotism.weights.frozen import frozen


@frozen("--base-model", "fp32")
def load(folder, precision):
    with open(Path(__file__).with_name("loads"), "a") as file:
        file.write(f"{__name__} {precision}\\n")
    return (folder / "weights").read_text()


if __name__ == "__main__":
    folder = Path(sys.argv[sys.argv.index("--base-model") + 1])
    print(load(folder, sys.argv[-1]))
"""


@pytest.fixture
def loading(environment, script, tmp_path):
    """What runs the script above, with its loader in a library, and gives how that ended."""
    before, _, after = FROZEN.partition("\n\nif __name__")
    (tmp_path / "library.py").write_text(before)
    script.write_text(f"from library import *\n\n\nif __name__{after}")
    environment = {**environment, "PYTHONPATH": f"{ROOT / 'scripts'}:{tmp_path}"}
    parent = head.WarmParent(1, environment)
    yield lambda *words: run(parent, script, environment, "--base-model", *words)
    parent._process.kill()
    parent._process.wait()


def test_a_frozen_model_is_loaded_once_for_all_jobs(loading, tmp_path):
    """A library's loader, as a script would import it: again only if its files changed, or for another precision."""
    weights = tmp_path / "model" / "weights"
    weights.parent.mkdir()

    def loads(content, *words):
        assert loading("model", *words).stdout == f"{content}\n"
        return len((tmp_path / "loads").read_text().splitlines())

    weights.write_text("first")
    assert [loads("first", "fp32") for _ in range(3)] == [1, 1, 1]
    assert loads("first", "bf16") == 2
    weights.write_text("another")
    assert [loads("another", "fp32") for _ in range(3)] == [3, 3, 3]


def test_a_frozen_model_that_cannot_be_loaded_is_left_to_its_job(loading):
    for _ in range(2):
        made = loading("nowhere", "fp32")
        assert made.returncode == 1
        assert "No such file or directory: 'nowhere/weights'" in made.stderr


def test_files_that_may_not_be_looked_at_are_left_to_the_job(monkeypatch):
    """Nothing of one job may end the process that others are forked from."""
    held = []
    frozen.frozen("--not-to-be-seen", "fp32")(lambda folder, precision: held.append(folder))

    def refused(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(frozen, "_state", refused)
    first_use.prepare_for(["script.py", "--not-to-be-seen", "model"], Path("/folder"))
    assert held == []


def test_what_a_family_imports_is_imported_once_for_all_jobs(script, environment):
    """Torch takes seconds of every job that imports it."""
    script.write_text(
        "import sys\nfrom nepotism import families\nif __name__ == '__main__':\n"
        "    print(*('nepotism.families.' + name in sys.modules for name in ('vae.family', 'lm.family')))\n"
    )
    environment = {**environment, "PYTHONPATH": str(ROOT / "scripts")}
    warm = head.WarmParent(1, environment)
    try:
        assert run(warm, script, environment, "--family", "vae").stdout == "True False\n"
        assert run(warm, script, environment, "--family", "nothing").stdout == "True False\n", "its job will tell"
    finally:
        warm._process.kill()
        warm._process.wait()


def test_a_library_that_is_not_there_is_no_matter(parent, script, environment):
    """Only the environment for tests is sure to have pandas."""
    for _ in range(2):
        script.write_text("import sys\nsys.modules['pandas'] = None\nimport pyarrow\nprint('ran', __name__)\n")
        assert run(parent, script, environment).stdout == "ran __main__\n"


@pytest.mark.parametrize(
    ("word", "status", "said"),
    [("fail", 1, "ValueError: as told"), ("exit", 7, ""), ("words", 1, "said at the end"), ("die", 137, "")],
)
def test_a_job_ends_as_it_would_by_itself(parent, script, environment, word, status, said):
    done = run(parent, script, environment, word)
    alone = subprocess.run(
        ["bash", "-c", 'python "$@"; exit $?', "bash", script, word], env=environment, cwd=script.parent,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == alone.returncode == status
    assert said in done.stderr
    assert said in alone.stderr


def test_a_signal_reaches_the_job(parent, script, environment):
    client, job, _ = started(parent, script, environment)
    client.send_signal(signal.SIGTERM)
    assert client.wait(20) == 5
    assert not alive(job)


def test_a_signal_for_the_shell_reaches_the_job(parent, script, environment, tmp_path):
    """Snakemake, told to end, ends the shells of its jobs."""
    process = subprocess.Popen(shell(parent, script, "wait"), env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    job = int((tmp_path / "pid").read_text().split()[0])
    process.terminate()
    process.wait(20)
    until(lambda: not alive(job))
    assert not (tmp_path / "done").exists()


def test_a_client_that_dies_takes_its_job_along(parent, script, environment, tmp_path):
    client, job, _ = started(parent, script, environment)
    client.kill()
    client.wait()
    until(lambda: not alive(job))
    assert not (tmp_path / "done").exists()
    # And the parent serves on.
    assert run(parent, script, environment).returncode == 0


def test_when_the_head_is_gone_running_jobs_end_well_and_so_does_the_parent(parent, script, environment, tmp_path):
    client, _, server = started(parent, script, environment)
    assert server == parent._process.pid
    parent._process.stdin.close()
    until(lambda: run(parent, script, environment).stdout.endswith("yes\n") is False)
    (tmp_path / "go").write_text("")
    assert client.wait(20) == 0
    assert (tmp_path / "done").exists()
    assert parent._process.wait(20) == 0
    assert not parent._socket.parent.exists()


def test_without_the_parent_jobs_start_by_themselves(parent, script, environment):
    client, job, server = started(parent, script, environment)
    os.kill(server, signal.SIGKILL)
    assert client.wait(20) == 1
    until(lambda: not alive(job))
    assert run(parent, script, environment, "exit").returncode == 7
    parent._process.wait()


def test_a_job_with_other_threads_than_the_parent_has_starts_by_itself(parent, script, environment, tmp_path):
    client, job, server = started(parent, script, {**environment, "OMP_NUM_THREADS": "2"})
    assert (job, server) == (client.pid, os.getpid())
    (tmp_path / "go").write_text("")
    assert client.wait(20) == 0


def test_what_is_no_script_starts_by_itself(parent, script, environment):
    command = ["bash", "-c", parent.shell_prefix() + "python -c 'print(6 * 7)'"]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "42\n"


def test_signals_that_were_ignored_stay_so(parent, script, environment):
    """Under nohup, that is SIGHUP."""
    command = ["bash", "-c", "trap '' HUP; " + parent.shell_prefix() + 'python "$0" wait', str(script)]
    process = subprocess.Popen(
        command, env=environment, cwd=script.parent, stdin=subprocess.DEVNULL, start_new_session=True
    )
    until(lambda: (script.parent / "pid").exists() and (script.parent / "pid").read_text())
    os.killpg(process.pid, signal.SIGHUP)
    os.kill(int((script.parent / "pid").read_text().split()[0]), signal.SIGHUP)
    (script.parent / "go").write_text("")
    assert process.wait(20) == 0
    assert (script.parent / "done").exists()


def test_a_signal_is_not_lost_while_the_parent_imports(parent, script, environment, tmp_path):
    (tmp_path / "slow.py").write_text("import time\n\ntime.sleep(1.5)\n")
    script.write_text("import slow\n" + SCRIPT)
    client = [sys.executable, "-I", "-S", head.HERE / "client.py", parent._socket, script, "wait"]
    process = subprocess.Popen(client, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (5, -signal.SIGTERM)
    assert not (tmp_path / "done").exists()


def test_a_client_that_dies_while_the_parent_imports_ends_no_other_job(parent, script, environment, tmp_path):
    other, job, _ = started(parent, script, environment)
    slow = tmp_path / "second.py"
    slow.write_text("import time\n\ntime.sleep(1)\n")
    client = [sys.executable, "-I", "-S", head.HERE / "client.py", parent._socket, slow]
    process = subprocess.Popen(client, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL)
    time.sleep(0.3)
    process.kill()
    process.wait()
    time.sleep(1.5)
    assert alive(job)
    (tmp_path / "go").write_text("")
    assert other.wait(20) == 0


def test_changed_code_is_what_runs(parent, script, environment, tmp_path):
    assert run(parent, script, environment).stdout.startswith("[]")
    script.write_text('print("new")\n')
    assert run(parent, script, environment).stdout == "new\n"


def test_what_cannot_be_imported_tells_so_itself(parent, script, environment, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import not_there\n")
    done = run(parent, broken, environment)
    assert done.returncode == 1
    assert "No module named 'not_there'" in done.stderr
    # And nothing is trusted that was imported with it.
    client, job, _ = started(parent, script, environment)
    assert job == client.pid
    (tmp_path / "go").write_text("")
    assert client.wait(20) == 0


def test_a_long_request_arrives_whole(parent, script, environment):
    long = {**environment, **{f"LONG_{number}": "x" * 30_000 for number in range(10)}}
    assert run(parent, script, long, "a").stdout.startswith("['a']")
    assert run(parent, script, {**long, "COLOUR": "x" * 50_000}).stdout.count("x") >= 50_000


def test_temporary_files_go_where_the_job_is_told(parent, script, environment, tmp_path):
    script.write_text(
        "import tempfile\n\ntempfile.gettempdir()\nif __name__ == '__main__':\n    print(tempfile.gettempdir())\n"
    )
    assert run(parent, script, {**environment, "TMPDIR": str(tmp_path)}).stdout == f"{tmp_path}\n"


def test_where_temporary_folders_have_long_names_the_socket_is_elsewhere(environment, tmp_path, monkeypatch):
    deep = tmp_path / ("long" * 30)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    made = head.WarmParent(1, environment)
    assert len(str(made._socket)) < 108
    made._process.stdin.close()
    assert made._process.wait(20) == 0


SNAKEFILE = f"""
import os, sys

sys.path.insert(0, {str(ROOT / "scripts")!r})

from nepotism.runtime.warm.head import WarmParent

rule job:
    output: touch("done")
    benchmark: "benchmark.tsv"
    shell: "python large.py"

# Without Snakemake's own prefix it would be made.
rule half:
    output: touch("half")
    shell: "false; true"

onstart:
    WarmParent(1, os.environ).take_jobs_of(shell)
"""


def test_snakemake_measures_the_fork(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "large.py").write_text(
        "import os, time\n"
        "if __name__ == '__main__':\n"
        "    held = b'x' * 300_000_000\n"
        "    end = time.process_time() + 2\n"
        "    while time.process_time() < end: pass\n"
        "    open('ppid', 'w').write(str(os.getppid()))\n"
    )
    snakemake = Path(sys.executable).parent / "snakemake"
    done = subprocess.run([snakemake, "--cores", "1"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    half = subprocess.run(
        [snakemake, "--cores", "1", "half"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert half.returncode == 1
    assert "Error in rule half" in half.stderr
    with open(tmp_path / "benchmark.tsv", newline="") as file:
        row = next(csv.DictReader(file, delimiter="\t"))
    assert float(row["max_rss"]) > 286
    assert float(row["cpu_time"]) > 0.3
