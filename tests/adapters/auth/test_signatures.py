"""AWS's own test vectors for Signature Version 4, and botocore as the judge of the rest.

The vectors are those of the suite that AWS publishes and its SDKs carry:
https://github.com/awslabs/aws-c-auth/tree/main/tests/aws-signing-test-suite
Left out are the two things no URL of ours has: dot segments and empty segments in a path.

The vectors of TC3 are the worked examples of Tencent Cloud's documentation:
https://www.tencentcloud.com/document/product/1154/48911
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import pytest
from botocore.auth import SigV4Auth  # type: ignore[import-untyped] # botocore ships no types
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped] # the same
from botocore.credentials import Credentials  # type: ignore[import-untyped] # the same

from adapters.auth.signatures import sign_sigv4, sign_tc3
from adapters.contract import SignableRequest

STAMP = "20150830T123600Z"
TIME = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
HOST = "https://example.amazonaws.com"
KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPf"
    "IeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7W"
    "Z0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8F"
    "DrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RESERVED = urlencode({"@#$%^": "", "+": '/,?><`";:\\|][{}'})
FORM = "application/x-www-form-urlencoded"

GET_VECTORS = {
    "vanilla": ("/", {}, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    "header-key-duplicate": (
        "/",
        {"My-Header1": "value2,value2,value1"},
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    "header-value-order": (
        "/",
        {"My-Header1": "value4,value1,value3,value2"},
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    ),
    "header-value-trim": (
        "/",
        {"My-Header1": " value1", "My-Header2": ' "a   b   c"'},
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "unreserved": (
        f"/{UNRESERVED}",
        {},
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "utf8": ("/ሴ", {}, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    "vanilla-empty-query-key": (
        "/?Param1=value1",
        {},
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    "vanilla-query-order-key-case": (
        "/?Param2=value2&Param1=value1",
        {},
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "vanilla-query-order-value": (
        "/?Param1=value2&Param1=value1",
        {},
        "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
    ),
    "vanilla-query-unreserved": (
        f"/?{UNRESERVED}={UNRESERVED}",
        {},
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    "vanilla-utf8-query": (
        "/?ሴ=bar",
        {},
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
}
POST_VECTORS = {
    "vanilla": ("/", {}, "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    "header-key-sort": (
        "/",
        {"My-Header1": "value1"},
        "",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "header-key-case": (
        "/",
        {},
        "",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "header-value-case": (
        "/",
        {"My-Header1": "VALUE1"},
        "",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    "vanilla-query": (
        "/?Param1=value1",
        {},
        "",
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    "vanilla-query-space": (
        "/?p",
        {},
        "",
        "e71688addb58a26418614085fb730ba3faa623b461c17f48f2fbdb9361b94a9b",
    ),
    "vanilla-query-nonunreserved": (
        f"/?{RESERVED}",
        {},
        "",
        "66c82657c86e26fb25238d0e69f011edc4c6df5ae71119d7cb98ed9b87393c1e",
    ),
    "x-www-form-urlencoded": (
        "/",
        {"Content-Type": FORM},
        "Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "x-www-form-urlencoded-parameters": (
        "/",
        {"Content-Type": f"{FORM}; charset=utf8"},
        "Param1=value1",
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
    ),
}


def signed(
    outgoing: SignableRequest, *, service: str = "service", token: str = ""
) -> Mapping[str, str]:
    return sign_sigv4(
        outgoing,
        service=service,
        region="us-east-1",
        access_key_id=KEY_ID,
        secret_access_key=SECRET,
        session_token=token,
    )


def judged(outgoing: SignableRequest, *, service: str = "service", token: str = "") -> str:
    """Let botocore sign the same request at the same time, and give its authorization header."""
    auth = SigV4Auth(Credentials(KEY_ID, SECRET, token or None), service, "us-east-1")
    request = AWSRequest(outgoing.method, outgoing.url, dict(outgoing.headers), outgoing.body)
    request.context["timestamp"] = request.headers["X-Amz-Date"] = STAMP
    if token:
        request.headers["X-Amz-Security-Token"] = token
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    return str(auth._inject_signature_to_request(request, signature).headers["Authorization"])


@pytest.mark.parametrize("vector", GET_VECTORS)
def test_aws_vectors_of_get(vector: str) -> None:
    path, headers, signature = GET_VECTORS[vector]
    made = signed(SignableRequest("GET", HOST + path, headers, b"", TIME))
    assert made["authorization"].endswith(f"Signature={signature}")
    assert made["x-amz-date"] == STAMP


@pytest.mark.parametrize("vector", POST_VECTORS)
def test_aws_vectors_of_post(vector: str) -> None:
    path, headers, body, signature = POST_VECTORS[vector]
    made = signed(SignableRequest("POST", HOST + path, headers, body.encode(), TIME))
    assert made["authorization"].endswith(f"Signature={signature}")


def test_aws_vector_of_a_session_token() -> None:
    made = signed(SignableRequest("POST", f"{HOST}/", {}, b"", TIME), token=TOKEN)
    assert made["x-amz-security-token"] == TOKEN
    assert made["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date;x-amz-security-token, "
        "Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    )


BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com"
PATHS = [
    "/model/amazon.nova-canvas-v1%3A0/invoke",
    "/model/us.stability.sd3-5-large-v1%3A0/invoke",
    f"/model/{quote('arn:aws:bedrock:us-east-1:1:inference-profile/a.b-v1:0', safe='')}/invoke",
]


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("path", PATHS)
def test_botocore_signs_an_encoded_path_the_same(path: str, token: str) -> None:
    headers = {"content-type": "application/json", "accept": "application/json"}
    outgoing = SignableRequest("POST", BEDROCK + path, headers, b'{"prompt":"a cube"}', TIME)
    ours = signed(outgoing, service="bedrock", token=token)["authorization"]
    assert ours == judged(outgoing, service="bedrock", token=token)


def test_botocore_leaves_the_same_headers_unsigned() -> None:
    headers = {"User-Agent": "easel", "X-Amzn-Trace-Id": "Root=1", "Expect": "", "Accept": "*/*"}
    outgoing = SignableRequest("POST", f"{HOST}/", headers, b"{}", TIME)
    ours = signed(outgoing)["authorization"]
    assert "SignedHeaders=accept;host;x-amz-date," in ours
    assert ours == judged(outgoing)


@pytest.mark.parametrize(
    "origin",
    [
        "https://Example.com",
        "https://example.com:443",
        "https://example.com:8443",
        "http://example.com:80",
        "http://127.0.0.1:9000",
    ],
)
def test_botocore_writes_the_host_the_same(origin: str) -> None:
    outgoing = SignableRequest("GET", f"{origin}/path", {}, b"", TIME)
    assert signed(outgoing)["authorization"] == judged(outgoing)


def test_the_case_of_a_headers_name_is_not_signed() -> None:
    upper = signed(SignableRequest("POST", HOST, {"MY-HEADER1": "value1"}, b"", TIME))
    assert upper == signed(SignableRequest("POST", HOST, {"my-header1": "value1"}, b"", TIME))


def test_a_colon_on_the_wire_would_be_another_signature() -> None:
    quoted = signed(SignableRequest("POST", f"{BEDROCK}/model/a%3A0/invoke", {}, b"", TIME))
    plain = signed(SignableRequest("POST", f"{BEDROCK}/model/a:0/invoke", {}, b"", TIME))
    assert quoted["authorization"] != plain["authorization"]


CVM = "https://cvm.tencentcloudapi.com/"
TC3_VECTORS = {
    "post": (
        SignableRequest(
            "POST",
            CVM,
            {"content-type": "application/json; charset=utf-8"},
            rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], '
            rb'"Name": "instance-name"}]}',
            1551113065,
        ),
        "2019-02-25",
        "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168",
    ),
    "get": (
        SignableRequest(
            "GET",
            f"{CVM}?Limit=10&Offset=0",
            {"content-type": "application/x-www-form-urlencoded"},
            b"",
            1539084154,
        ),
        "2018-10-09",
        "5da7a33f6993f0614b047e5df4582db9e9bf4672ba50567dba16c6ccf174c474",
    ),
}


def tencent(outgoing: SignableRequest, token: str = "") -> Mapping[str, str]:
    key_id, secret = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE", "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"
    return sign_tc3(outgoing, service="cvm", secret_id=key_id, secret_key=secret, token=token)


@pytest.mark.parametrize("vector", TC3_VECTORS)
def test_tencents_vectors(vector: str) -> None:
    outgoing, day, signature = TC3_VECTORS[vector]
    assert tencent(outgoing) == {
        "x-tc-timestamp": str(int(outgoing.time)),
        "authorization": "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/"
        f"{day}/cvm/tc3_request, SignedHeaders=content-type;host, Signature={signature}",
    }


def test_the_token_of_a_temporary_key_goes_beside_the_signature() -> None:
    outgoing, *_ = TC3_VECTORS["post"]
    assert tencent(outgoing, "a-token") == {**tencent(outgoing), "x-tc-token": "a-token"}
