"""Photos by http: what may pass is tried again, what does not is quarantined by reason; a server that is down stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from pipeline.manifest import BuildManifest
from pipeline.sources.config import TableSource
from pipeline.sources.photos import ImageReader
from pipeline.verify import verify
from stages.common import ImageRecord, SampleError, UserError
from tests.pipeline.conftest import run_build
from tests.web import Answer, Web, web_server

Make = Callable[..., BuildManifest]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which take no time here."""
    found: list[float] = []
    monkeypatch.setattr("stages.common.storage.time.sleep", found.append)
    return found


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


def status(code: int, **headers: str) -> Answer:
    return code, {name.replace("_", "-"): value for name, value in headers.items()}, b"an error page"


def picture(data: bytes = b"a picture") -> Answer:
    return 200, {}, data


CUT: Answer = (200, {"Content-Length": "1000"}, b"the beginning of a picture")


def read(url: str) -> bytes:
    return ImageReader(TableSource(path="t.csv")).read(ImageRecord("1", url, ()))


class TestTries:
    @pytest.mark.parametrize(
        ("failures", "pauses"),
        [
            ([], []),
            ([status(503)], [1]),
            ([status(500), status(502), status(504)], [1, 2, 4]),
            ([CUT, CUT], [1, 2]),
            ([status(408), status(425)], [1, 2]),
            ([status(429, Retry_After="3")], [3]),
            ([status(503, Retry_After="0"), status(429, Retry_After="900")], [1, 30]),
            ([status(429, Retry_After="soon")], [1]),
        ],
    )
    def test_what_may_pass_is_tried_again(
        self, web: Web, waits: list[float], failures: list[Answer | None], pauses: list[float]
    ) -> None:
        assert read(web.add("/a.jpg", *failures, picture())) == b"a picture"
        assert waits == pauses
        assert web.asked["/a.jpg"] == len(failures) + 1

    def test_a_date_to_wait_for_is_heeded(self, web: Web, waits: list[float]) -> None:
        later = formatdate(time.time() + 20, usegmt=True)
        assert read(web.add("/a.jpg", status(503, Retry_After=later), picture())) == b"a picture"
        assert 15 < waits[0] <= 20

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (status(503), "the server answers 503 Service Unavailable"),
            (status(429, Retry_After="2"), "the server answers 429 Too Many Requests"),
            (CUT, "not completed"),
            (None, "disconnected"),
        ],
    )
    def test_what_does_not_pass_is_unreachable(
        self, web: Web, waits: list[float], answer: Answer | None, message: str
    ) -> None:
        with pytest.raises(SampleError, match=f"unreachable: {web.url}/a.jpg: tried several times: .*{message}"):
            read(web.add("/a.jpg", answer))
        assert len(waits) == 3
        assert waits[0] < waits[1] <= waits[2] or waits[0] == 2
        assert web.asked["/a.jpg"] == (4 if answer else 8)  # aiohttp itself asks again where a connection was closed

    def test_nobody_at_the_address_is_unreachable(self, waits: list[float]) -> None:
        with pytest.raises(SampleError, match=r"unreachable: .*Cannot connect to host"):
            read("http://127.0.0.1:9/a.jpg")
        assert waits == [1, 2, 4]

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (status(404), FileNotFoundError),
            (status(410), FileNotFoundError),
            (status(401), PermissionError),
            (status(403), PermissionError),
            (status(451), PermissionError),
            (status(302, Location="/a.jpg"), PermissionError),
            (status(302, Location="http://[not/a/host"), PermissionError),
            (status(302, Location="gopher://x/y"), PermissionError),
        ],
    )
    def test_an_answer_is_taken_at_once(
        self, web: Web, waits: list[float], answer: Answer, error: type[OSError]
    ) -> None:
        with pytest.raises(error):
            read(web.add("/a.jpg", answer))
        assert waits == []


def table_of(folder: Path, *names: str, root: str | None = None) -> dict[str, Any]:
    (folder / "t.csv").write_text("image,caption\n" + "".join(f"{name},a red ball on a table\n" for name in names))
    return {"kind": "table", "path": str(folder / "t.csv"), "root": root, "scan": "names"}


def reasons(out: Path) -> dict[str, str]:
    """File -> reason of the quarantined photos, without folders."""
    rows = pyarrow.parquet.read_table(out / "quarantine.parquet").to_pylist()
    assert {row["item"] for row in rows} <= {"image"}
    return {row["file"].rpartition("/")[2]: row["reason"] for row in rows}


@pytest.mark.usefixtures("waits")
class TestBuilds:
    def pages(self, web: Web, photos: Path) -> list[str]:
        good = picture((photos / "images/000100.jpg").read_bytes())
        answers: dict[str, list[Answer | None]] = {
            "good.jpg": [good],
            "late.jpg": [status(503), CUT, good],
            "busy.jpg": [status(429)],
            "cut.jpg": [CUT],
            "silent.jpg": [None],
            "mine.jpg": [status(403)],
            "none.jpg": [status(404)],
            "gone.jpg": [status(410)],
            "page.jpg": [(200, {}, b"<html>")],
        }
        for name, answer in answers.items():
            web.add(f"/{name}", *answer)
        return list(answers)

    @pytest.mark.parametrize("has_root", [True, False])
    def test_each_photo_has_its_own_reason(
        self, web: Web, manifest: Make, photos: Path, tmp_path: Path, has_root: bool
    ) -> None:
        names = self.pages(web, photos)
        source = (
            table_of(tmp_path, *names, root=web.url)
            if has_root
            else table_of(tmp_path, *(f"{web.url}/{name}" for name in names))
        )
        classical = {"proposals__proposer": {"kind": "classical"}, "shards__images_per_shard": 9}
        outcome = run_build(manifest(source=source, **classical), tmp_path / "out")
        assert outcome.lock is not None
        assert outcome.lock.counts.images_quarantined == 7
        assert verify(str(tmp_path / "out"))[1] == []
        assert reasons(tmp_path / "out") == {
            "busy.jpg": "unreachable",
            "cut.jpg": "unreachable",
            "silent.jpg": "unreachable",
            "mine.jpg": "unreadable_file",
            "none.jpg": "missing_file",
            "gone.jpg": "missing_file",
            "page.jpg": "undecodable_image",
        }

    @pytest.mark.parametrize("answer", [None, status(503), CUT])
    def test_a_root_of_which_nothing_can_be_had_stops_the_build_which_then_goes_on(
        self, web: Web, manifest: Make, photos: Path, tmp_path: Path, answer: Answer | None
    ) -> None:
        names = [f"{number}.jpg" for number in range(5)]
        source = table_of(tmp_path, *names, root=web.url)
        for name in names:
            web.add(f"/{name}", answer)
        again = manifest(source=source, proposals__proposer={"kind": "classical"})
        with pytest.raises(UserError, match=f"source.root: {web.url}: not one of 3 photos can be read: .*goes on"):
            run_build(again, tmp_path / "out")
        for name in names:
            web.add(f"/{name}", picture((photos / "images/000100.jpg").read_bytes()))
        outcome = run_build(again, tmp_path / "out")
        assert outcome.lock is not None
        assert outcome.lock.counts.images_quarantined == 0

    def test_a_photo_of_a_server_that_is_down_costs_itself_alone(
        self, web: Web, manifest: Make, photos: Path, tmp_path: Path
    ) -> None:
        good = web.add("/good.jpg", picture((photos / "images/000100.jpg").read_bytes()))
        source = table_of(tmp_path, "http://127.0.0.1:9/dead.jpg", good, "https://127.0.0.1:9/dead.png")
        one_each = {"proposals__proposer": {"kind": "classical"}, "shards__images_per_shard": 1}
        run_build(manifest(source=source, **one_each), tmp_path / "out")
        assert reasons(tmp_path / "out") == {"dead.jpg": "unreachable", "dead.png": "unreachable"}

    def test_many_servers_of_which_none_answers_are_no_network(self, manifest: Make, tmp_path: Path) -> None:
        urls = [f"http://127.0.0.{number}:9/{number}.jpg" for number in range(2, 22)]
        source = table_of(tmp_path, *urls)
        many = {"proposals__proposer": {"kind": "classical"}, "shards__images_per_shard": 50}
        with pytest.raises(
            UserError, match=r"16 web servers were asked for 16 photos, and none answers.*on the network"
        ):
            run_build(manifest(source=source, **many), tmp_path / "out")

    def test_a_folder_that_is_gone_stops_the_build(self, manifest: Make, tmp_path: Path) -> None:
        source = table_of(tmp_path, "a.jpg", "b.jpg", root=str(tmp_path / "none"))
        with pytest.raises(
            UserError, match=r"source\.root: .*none: not one of 2 photos can be read: there is no such folder"
        ):
            run_build(manifest(source=source, proposals__proposer={"kind": "classical"}), tmp_path / "out")
        (tmp_path / "none").mkdir()
        run_build(manifest(source=source, proposals__proposer={"kind": "classical"}), tmp_path / "out")
        assert reasons(tmp_path / "out") == {"a.jpg": "missing_file", "b.jpg": "missing_file"}
