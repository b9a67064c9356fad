"""Executes the notebook on a generated stream, and compares its results with the table.

The expected values do not come from the code of the notebook: counts come from the ledger, revenue from SQL, and the loss with a
watermark of 5 minutes from a second pipeline with that delay on the same topic. `dev/jupyter test` sets the environment. The
executed notebook is written to .dev/test/retail.ipynb. With RETAIL_WRITE_PLOTS, its plots become those of the repository's file.
"""

import base64
import copy
import io
import json
import os
import subprocess
import time
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image
from psycopg.sql import SQL, Identifier

NOTEBOOK = Path(__file__).with_name("retail.ipynb")
DATABASE_URL = os.environ["RETAIL_DATABASE_URL"]
BOOTSTRAP_SERVERS = os.environ["RETAIL_BOOTSTRAP_SERVERS"]

# The cells that draw.
PLOTS = ["revenue", "lateness", "watermarks"]

# Ten purchases per second of event time: 50,000 cover 83 minutes, so that some windows close and some stay open.
PIPELINE = """
apiVersion: retailpipeline.dev/v1alpha1
kind: RetailPipeline
metadata: {{name: {name}}}
spec:
  kafka: {{bootstrapServers: "kafka:9092"}}
  topic: {{name: {topic}, partitions: 4, config: {{retention.ms: "-1"}}}}
  window: 5m
  watermark: {{delay: {delay}, idleTimeout: 1s}}
  trigger: 100ms
  database: {{host: postgres, name: retail}}
  producer: {{eventsPerSecond: 10}}
  printRows: false
"""


class Pipeline:
    """A pipeline with its own schema, on the shared servers."""

    def __init__(self, directory, name, topic, delay):
        self.schema = name.replace("-", "_")
        self.file = directory / f"{name}.yaml"
        self.file.write_text(PIPELINE.format(name=name, topic=topic, delay=delay))

    def command(self, program, *arguments):
        command = [Path(os.environ["RETAIL_PROGRAMS"], program), *arguments]
        return {"args": command, "env": os.environ | {"RETAIL_PIPELINE": str(self.file)}}

    def run(self, program, *arguments):
        done = subprocess.run(**self.command(program, *arguments), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{program} {arguments} failed:\n{done.stderr}"

    @contextmanager
    def running(self, program):
        with open(self.file.with_suffix(".log"), "w") as log:
            process = subprocess.Popen(**self.command(program), stdout=log, stderr=log)
            try:
                yield
            finally:
                process.terminate()
                try:
                    process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(timeout=60)
                    raise

    def connect(self):
        # A lock that is never released fails the test.
        connection = psycopg.connect(DATABASE_URL, autocommit=True, connect_timeout=30, options="-c statement_timeout=60s")
        connection.execute(SQL("SET search_path TO {}").format(Identifier(self.schema)))
        return connection

    def row(self, sql):
        with self.connect() as connection:
            return connection.execute(sql).fetchone()

    def drop(self):
        with self.connect() as connection:
            connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(self.schema)))


@contextmanager
def made(directory, **delays):
    """Creates a topic, and for each name a pipeline on it with that delay. Deletes them afterwards."""
    # Unique for each run.
    topic = f"notebook-{time.time_ns() // 1_000_000}-{os.getpid()}"
    pipelines = {name: Pipeline(directory, f"{topic}-{name}", topic, delay) for name, delay in delays.items()}
    try:
        next(iter(pipelines.values())).run("retail", "apply-topic")
        for pipeline in pipelines.values():
            pipeline.run("retail", "apply-schema")
        yield SimpleNamespace(topic=topic, **pipelines)
    finally:
        for pipeline in pipelines.values():
            pipeline.drop()
        # A client that nothing refers to is closed, and then its futures may never end.
        admin = AdminClient({"bootstrap.servers": BOOTSTRAP_SERVERS})
        for deleted in admin.delete_topics([topic]).values():
            deleted.exception(timeout=60)


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    """The pipeline of the notebook, one with a watermark of 5 minutes, and one without rows."""
    with made(tmp_path_factory.mktemp("pipelines"), patient="1h", hasty="5m", unused="1h") as pipelines:
        faults = ["--malformed", "2", "--too-late", "2", "--future", "1", "--duplicated", "1"]
        pipelines.patient.run("retail-producer", "--events", "50000", "--rate", "max", *faults)
        for pipeline in (pipelines.patient, pipelines.hasty):
            pipeline.run("retail-processor", "--until-caught-up")
        yield pipelines


def execute(schema):
    """Returns the notebook with its outputs, and its error or None."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    try:
        client.execute(env=os.environ | {"RETAIL_SCHEMA": schema})
    except CellExecutionError as error:
        return notebook, error
    return notebook, None


def outputs(notebook, cell_id):
    return next(cell.outputs for cell in notebook.cells if cell.id == cell_id)


@pytest.fixture(scope="module")
def notebook(pipelines):
    notebook, error = execute(pipelines.patient.schema)
    kept = NOTEBOOK.parent.parent / ".dev" / "test" / "retail.ipynb"
    kept.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, kept)
    assert error is None, f"{error.ename}: {error.evalue}"
    if "RETAIL_WRITE_PLOTS" in os.environ:
        write_plots(notebook)
    return notebook


def write_plots(executed):
    """Writes the plots into the notebook file, in 64 colours."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.id in PLOTS:
            cell.outputs = [copy.deepcopy(output) for output in outputs(executed, cell.id) if "image/png" in output.get("data", {})]
            for output in cell.outputs:
                small = io.BytesIO()
                Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB").quantize(64).save(small, "PNG", optimize=True)
                output.data["image/png"] = base64.b64encode(small.getvalue()).decode()
    nbformat.write(notebook, NOTEBOOK)


@pytest.fixture(scope="module")
def results(notebook):
    return outputs(notebook, "results")[0].data["application/json"]


def test_counts_equal_the_ledger(pipelines, results):
    counts = results["counts"]
    assert tuple(counts.values()) == pipelines.patient.row(
        "SELECT sum(applied), sum(late), sum(invalid), sum(future), sum(gaps) FROM ledger"
    )
    assert all(counts[fate] > 0 for fate in ("applied", "late", "invalid", "future")), "a stream without faults tests nothing"


def test_revenue_and_windows_equal_the_table(pipelines, results):
    windows, final, revenue = pipelines.patient.row(
        "SELECT count(DISTINCT window_start), count(DISTINCT window_start) FILTER (WHERE final), sum(total_amount) FROM retail"
    )
    assert (results["windows"], results["final_windows"], Decimal(results["revenue"])) == (windows, final, revenue)
    assert 0 < final < windows


def test_loss_at_60_minutes_equals_the_dead_letters(pipelines, results):
    # Only the dead letters contain the revenue of late events.
    late, revenue = pipelines.patient.row("""
        SELECT count(*), sum((purchase ->> 'price')::numeric * (purchase ->> 'quantity')::numeric)
        FROM (SELECT convert_from(payload, 'UTF8')::jsonb AS purchase FROM dead_letter WHERE reason = 'late') late
    """)
    lost = results["lost_by_minutes"]["60"]
    assert (lost["events"], Decimal(lost["revenue"])) == (late, revenue)
    assert lost["events"] == results["counts"]["late"]


def test_loss_at_5_minutes_equals_a_pipeline_with_that_delay(pipelines, results):
    (late,) = pipelines.hasty.row("SELECT sum(late) FROM ledger")
    (kept,) = pipelines.hasty.row("SELECT sum(total_amount) FROM retail")
    hasty, patient = results["lost_by_minutes"]["5"], results["lost_by_minutes"]["60"]
    total = Decimal(results["revenue"]) + Decimal(patient["revenue"])
    assert (hasty["events"], Decimal(hasty["revenue"])) == (late, total - kept)
    assert hasty["share"] == pytest.approx(float((total - kept) / total))
    assert hasty["events"] > patient["events"] and Decimal(hasty["revenue"]) > Decimal(patient["revenue"])


def test_batches_lose_least_and_future_events_lose_most(results):
    losses = results["lost_by_global_watermark"]
    assert losses["every 5 minutes"]["events"] < losses["event by event"]["events"] <= losses["future events count"]["events"]
    assert losses["every 5 minutes"]["events"] > results["lost_by_minutes"]["60"]["events"]


@pytest.mark.parametrize("cell_id", PLOTS)
def test_plots_are_drawn(notebook, cell_id):
    images = [output.data["image/png"] for output in outputs(notebook, cell_id) if "image/png" in output.get("data", {})]
    assert len(images) == 1
    assert base64.b64decode(images[0]).startswith(b"\x89PNG\r\n")
    # A plot without data is much smaller.
    assert len(images[0]) > 20_000


def test_program_of_the_pandas_page_sums_exactly(pipelines):
    page = (NOTEBOOK.parent.parent / "docs/how-to/use-pandas.md").read_text()
    program = page.split("```python\n")[1].split("```")[0].replace("retail.retail", f"{pipelines.patient.schema}.retail")
    names = {}
    exec(compile(program, "use-pandas.md", "exec"), names)
    with pipelines.patient.connect() as connection:
        sums = dict(connection.execute("SELECT category, sum(total_amount) FROM retail WHERE final GROUP BY 1").fetchall())
    assert names["exact"].to_dict() == sums and len(sums) > 1
    assert names["by_hour"].sum() == pytest.approx(float(sum(sums.values())))


def test_one_changed_cent_fails_the_notebook(pipelines, notebook):
    change = """
        UPDATE final_rows SET amount = amount + {}
        WHERE window_start = (SELECT min(window_start) FROM final_rows) AND d1 = 'Makeup' AND d2 = 'COD'
    """
    with pipelines.patient.connect() as connection:
        assert connection.execute(change.format("0.01")).rowcount == 1
        try:
            _, error = execute(pipelines.patient.schema)
        finally:
            connection.execute(change.format("-0.01"))
    assert error is not None and error.ename == "AssertionError"
    assert "1 rows differ" in error.evalue


def test_event_below_the_floor_of_an_idle_partition_is_late(tmp_path):
    producer = Producer({"bootstrap.servers": BOOTSTRAP_SERVERS, "linger.ms": 0})

    def send(partition, event_time):
        purchase = {"category": "Makeup", "payment_method": "COD", "quantity": 1, "price": 1, "timestamp": event_time}
        producer.produce(pipelines.topic, json.dumps(purchase), partition=partition)
        assert producer.flush(30) == 0

    def wait_for(condition, meanwhile=lambda: None):
        end = time.monotonic() + 60
        while not pipelines.only.row(f"SELECT {condition} FROM partition_progress")[0]:
            assert time.monotonic() < end, f"timeout after a minute: {condition}"
            meanwhile()
            time.sleep(0.05)

    with made(tmp_path, only="1h") as pipelines:
        send(0, 1_735_689_600)
        with pipelines.only.running("retail-processor"):
            # Partitions 1 to 3 are ten hours ahead and receive records, so that only partition 0 is idle and gets a floor.
            wait_for("max(lateness_floor) > 'epoch'", lambda: [send(partition, 1_735_725_600) for partition in (1, 2, 3)])
            # Without the floor, this event would be in time.
            send(0, 1_735_689_660)
            wait_for("sum(late) = 1")
        notebook, error = execute(pipelines.only.schema)
    assert error is None, f"{error.ename}: {error.evalue}"
    assert outputs(notebook, "results")[0].data["application/json"]["counts"]["late"] == 1


@pytest.mark.parametrize("schema", ["unused", "missing"])
def test_notebook_without_rows_names_the_commands_to_run(pipelines, schema):
    _, error = execute(pipelines.unused.schema if schema == "unused" else "no_such_schema")
    assert error is not None and error.ename == "Stop"
    assert "make demo" in error.evalue and "make spark" in error.evalue


def test_notebook_file_has_its_plots_and_no_other_outputs():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            kinds = [set(output.data) for output in cell.outputs]
            assert kinds == ([{"image/png", "text/plain"}] if cell.id in PLOTS else [])
            assert cell.execution_count is None
