"""Case 14: guessing, or lengthening, the way to somebody else's picture or job."""

from __future__ import annotations

from pathlib import Path

from yarl import URL

from tests.support.blobs import blob_gateway
from tests.support.gateway import OTHER_KEY, gateway_to


async def test_a_pictures_url_cannot_be_changed_in_any_part(tmp_path: Path) -> None:
    async with blob_gateway(tmp_path) as ours:
        mine = URL(await ours.publish())
        theirs = URL(await ours.publish(x_portkey_api_key=OTHER_KEY))
        for forged in (
            mine.update_query(expires=str(int(mine.query["expires"]) + 1)),
            mine.update_query(sig=theirs.query["sig"]),
            mine.update_query(sig=theirs.query["sig"][:16] + mine.query["sig"][16:]),
            mine.with_path(theirs.path).with_query(mine.query),
            mine.with_query(None),
        ):
            assert (await ours.get(str(forged))).status == 404
        assert (await ours.get(str(mine))).status == 200


async def test_names_of_pictures_and_jobs_hold_128_bits(tmp_path: Path) -> None:
    async with blob_gateway(tmp_path) as ours:
        names = {URL(await ours.publish()).name.partition(".")[0] for _ in range(50)}
        assert (len(names), {len(it) for it in names}) == (50, {32})
    async with gateway_to() as (ours, _):
        named = [(await ours.draw(virtual_key="up")).headers["x-easel-job"] for _ in range(2)]
        assert all(len(it) >= 22 for it in named)


async def test_a_job_of_another_caller_is_not_there() -> None:
    async with gateway_to() as (ours, _):
        job = (await ours.draw(virtual_key="up")).headers["x-easel-job"]
        for method in ("GET", "DELETE"):
            for name, key in ((job, OTHER_KEY), ("0" * len(job), OTHER_KEY)):
                path = f"/v1/images/jobs/{name}"
                got = await ours.ask(method=method, path=path, api_key=key)
                assert (got.status, got.error["code"]) == (404, "job_not_found")
