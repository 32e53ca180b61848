"""Events as AWS documents them, each with the members that a real one has (identifiers are made up):

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""
import base64
from urllib.parse import parse_qsl

HEADERS = {"accept": "*/*", "host": "example.execute-api.us-east-1.amazonaws.com", "user-agent": "curl/8.5.0",
           "x-forwarded-for": "192.0.2.1", "x-forwarded-port": "443", "x-forwarded-proto": "https"}


def encode(body, binary):
    """body and isBase64Encoded."""
    if body is None:
        return None, False
    if isinstance(body, str):
        body = body.encode()
    return (base64.b64encode(body).decode(), True) if binary else (body.decode(), False)


def pairs(query):
    return parse_qsl(query, keep_blank_values=True)


def last_values(items):
    return dict(items) or None


def all_values(items):
    values = {}
    for name, value in items:
        values.setdefault(name, []).append(value)
    return values or None


def rest_api(method, path, query="", body=None, binary=False, headers=None, stage="v1"):
    text, is_base64 = encode(body, binary)
    given = {**HEADERS, **(headers or {})}
    return {
        "resource": "/{proxy+}", "path": path, "httpMethod": method, "headers": given,
        "multiValueHeaders": {name: [value] for name, value in given.items()},
        "queryStringParameters": last_values(pairs(query)),
        "multiValueQueryStringParameters": all_values(pairs(query)),
        "pathParameters": {"proxy": path.lstrip("/")}, "stageVariables": None,
        "requestContext": {
            "resourceId": "abc123", "resourcePath": "/{proxy+}", "httpMethod": method, "extendedRequestId": "Kq1=",
            "requestTime": "09/Apr/2026:12:34:56 +0000", "path": f"/{stage}{path}", "accountId": "000000000000",
            "protocol": "HTTP/1.1", "stage": stage, "domainPrefix": "example", "requestTimeEpoch": 1775738096000,
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "apiId": "example",
            "domainName": "example.execute-api.us-east-1.amazonaws.com",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl/8.5.0", "user": None}},
        "body": text, "isBase64Encoded": is_base64,
    }


def http_api(method, path, query="", body=None, binary=False, headers=None, stage="$default", domain=None):
    text, is_base64 = encode(body, binary)
    raw_path = path if stage == "$default" else f"/{stage}{path}"
    event = {
        "version": "2.0", "routeKey": "$default", "rawPath": raw_path, "rawQueryString": query,
        "headers": {**HEADERS, **(headers or {})},
        "requestContext": {
            "accountId": "000000000000", "apiId": "example",
            "domainName": domain or "example.execute-api.us-east-1.amazonaws.com", "domainPrefix": "example",
            "http": {"method": method, "path": raw_path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
                     "userAgent": "curl/8.5.0"},
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default", "stage": stage,
            "time": "09/Apr/2026:12:34:56 +0000", "timeEpoch": 1775738096000},
        "isBase64Encoded": is_base64,
    }
    if query:
        values = all_values(pairs(query)) or {}
        event["queryStringParameters"] = {name: ",".join(values[name]) for name in values}
    if text is not None:
        event["body"] = text
    return event


def function_url(method, path, query="", body=None, binary=False, headers=None):
    return http_api(method, path, query, body, binary, headers, domain="example.lambda-url.us-east-1.on.aws")


def load_balancer(method, path, query="", body=None, binary=False, headers=None, multi=False):
    text, is_base64 = encode(body, binary)
    given = {**HEADERS, **(headers or {})}
    raw = [tuple(item.split("=", 1)) if "=" in item else (item, "") for item in query.split("&") if item]
    event = {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:000000000000:"
                                                     "targetgroup/streams/6d0ecf831eec9f09"}},
        "httpMethod": method, "path": path, "body": text or "", "isBase64Encoded": is_base64,
    }
    if multi:
        event["multiValueQueryStringParameters"] = all_values(raw) or {}
        event["multiValueHeaders"] = {name: [value] for name, value in given.items()}
    else:
        event["queryStringParameters"] = last_values(raw) or {}
        event["headers"] = given
    return event


def load_balancer_multi(*args, **named):
    return load_balancer(*args, multi=True, **named)


def scheduled():
    return {"version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event",
            "source": "aws.events", "account": "000000000000", "time": "2026-04-09T12:00:00Z", "region": "us-east-1",
            "resources": ["arn:aws:events:us-east-1:000000000000:rule/upkeep"], "detail": {}}


def queue_record():
    return {"Records": [{"messageId": "059f36b4", "body": "{}", "eventSource": "aws:sqs"}]}


FRONT_ENDS = (rest_api, http_api, function_url, load_balancer, load_balancer_multi)
