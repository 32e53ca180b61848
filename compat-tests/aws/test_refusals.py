#!/usr/bin/env python3
"""What is wrong at the start is said in one sentence, and the gateway ends with status 1: no credentials, expired ones, a
wrong region, a bucket or a table that is not there, keys that are refused."""
import os
import re
import secrets
import subprocess
import tempfile
import unittest

from world import World, make_bucket

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


class Refusals(unittest.TestCase):
    def setUp(self):
        self.world = World()

    def tearDown(self):
        self.world.close()

    def start(self, environment, store=None, options=()):
        """The sentences at which the gateway gives up."""
        environment = {**os.environ, **self.world.environment, "AWS_EC2_METADATA_DISABLED": "true", **environment}
        with tempfile.TemporaryDirectory() as home:
            environment.update(HOME=home)
            ended = subprocess.run(
                [os.environ["GATEWAY"], "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store",
                 store or self.world.store, *options], env={k: v for k, v in environment.items() if v is not None},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended.stderr)
        return ended.stderr

    def assert_sentence(self, said, *words):
        """One line of the log says it, with these words; no secret is in it."""
        lines = [line for line in said.splitlines() if "level=error" in line or not line.startswith("ts=")]
        self.assertEqual(len(lines), 1, said)
        for word in words:
            self.assertRegex(lines[0], re.compile(word, re.I))
        self.assertNotIn(os.environ["AWS_SECRET_ACCESS_KEY"], said)
        print(lines[0])

    def test_no_credentials(self):
        self.assert_sentence(self.start({name: None for name in KEYS}), "credentials")

    def test_expired_credentials(self):
        self.world.proxy.fault("*", "expired", 1)
        self.world.proxy.fault("*", "expired_token", 1)
        self.assert_sentence(self.start({}), "expired")

    def test_keys_that_are_refused(self):
        self.world.gateway().stop()
        self.assert_sentence(self.start({"AWS_SECRET_ACCESS_KEY": "x" * 40}), "credentials|signature|keys")

    def test_no_permission(self):
        self.world.gateway().stop()
        for fault in ("denied", "access_denied"):
            self.world.proxy.calm()
            self.world.proxy.fault("*", fault, 1)
            self.assert_sentence(self.start({}), "denied|permission|allowed")

    def test_no_region(self):
        self.assert_sentence(self.start({"AWS_REGION": None, "AWS_DEFAULT_REGION": None}), "region")

    def test_a_wrong_region(self):
        """Of the bucket, which S3 tells in two ways; of the table, which is not there then."""
        self.world.gateway().stop()
        for fault in ("wrong_region", "redirect"):
            self.world.proxy.calm()
            self.world.proxy.fault("s3.*", fault, 1)
            self.assert_sentence(self.start({}), "region")
        self.world.proxy.calm()
        name = "empty-" + secrets.token_hex(4)
        make_bucket(name)
        self.assert_sentence(self.start({"AWS_REGION": "eu-north-1"}, f"s3://{name}?table={name}"), "eu-north-1", name)

    def test_a_bucket_that_is_not_there(self):
        name = "nowhere-" + secrets.token_hex(4)
        self.assert_sentence(self.start({}, f"s3://{name}?table={name}", ["--create-table", "true"]), "bucket", name)

    def test_a_table_that_is_not_there(self):
        name = "empty-" + secrets.token_hex(4)
        make_bucket(name)
        self.assert_sentence(self.start({}, f"s3://{name}?table={name}"), "table", name, "create-table")

    def test_a_service_that_is_away(self):
        for service in ("s3", "dynamodb"):
            self.world.proxy.away(service, 50000)
            self.assert_sentence(self.start({}, options=["--create-table", "true"]), "reach|connect|answer|away")
            self.world.proxy.calm()


if __name__ == "__main__":
    unittest.main(verbosity=2)
