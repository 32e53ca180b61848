/* The policies word by word: what is not here, nobody may do. */
import type { Template } from 'aws-cdk-lib/assertions';
import assert from 'node:assert';
import { test } from 'node:test';
import { resources, stacks, template } from './app.ts';

const made = stacks({ bucket: 'the-bucket', table: 'the-table', prefix: 'p', gateway: 'true' });
const OBJECTS = ['p/checkpoints/*', 'p/ingest/*', 'p/store', 'p/topics/*'];
const TABLE = ['BatchWriteItem', 'GetItem', 'PutItem', 'Query'];

interface Statement {
    Sid: string;
    Effect: string;
    Action: string | string[];
    Resource: unknown;
    Condition?: unknown;
}

/* A resource's name without partition, region and account; what is an intrinsic function is `?`. */
function name(resource: unknown): string {
    const parts = (resource as { 'Fn::Join'?: [string, unknown[]] })['Fn::Join']?.[1] ?? [resource];
    const text = parts.map((part) => (typeof part === 'string' ? part : '?')).join('');
    return text.replace(/^arn:\?:s3:::/, 's3 ').replace(/^arn:\?:dynamodb:\?:\?:table\//, 'table ');
}

function policy(from: Template, role: string): Record<string, unknown> {
    const found = resources(from, 'AWS::IAM::Policy').filter((each) => {
        const roles = each.Properties['Roles'] as { Ref: string }[];
        return roles.some((ref) => ref.Ref.includes(role));
    });
    const documents = found.map((each) => each.Properties['PolicyDocument'] as { Statement: Statement[] });
    return Object.fromEntries(documents.flatMap((document) => document.Statement).map((statement) => {
        assert.strictEqual(statement.Effect, 'Allow');
        const list = (value: unknown) => (Array.isArray(value) ? value : [value]);
        return [statement.Sid, {
            actions: list(statement.Action).sort(), on: list(statement.Resource).map(name).sort(),
            ...(statement.Condition === undefined ? {} : { when: statement.Condition }),
        }];
    }));
}

const WRITER = {
    Objects: { actions: ['s3:GetObject', 's3:PutObject'], on: OBJECTS.map((object) => `s3 the-bucket/${object}`) },
    Table: { actions: TABLE.map((action) => `dynamodb:${action}`), on: ['table the-table'] },
};
const TELL_ABSENT = {
    TellAbsent: {
        actions: ['s3:ListBucket'], on: ['s3 the-bucket'],
        when: { StringEqualsIfExists: { 's3:prefix': ['p/store'] } },
    },
};
const LOG = { Log: { actions: ['logs:CreateLogStream', 'logs:PutLogEvents'], on: ['?'] } };

test('the function may read and add objects and write the table, learn that an object is absent, nothing else', () => {
    assert.deepStrictEqual(policy(template(made, 'Api'), 'HttpRole'), { ...WRITER, ...TELL_ABSENT, ...LOG });
});

test('upkeep alone may list and delete, under the prefixes whose objects are collected', () => {
    const collected = OBJECTS.filter((object) => object !== 'p/store');
    assert.deepStrictEqual(policy(template(made, 'Api'), 'UpkeepRole'), {
        ...WRITER,
        ...LOG,
        Collect: { actions: ['s3:DeleteObject'], on: collected.map((object) => `s3 the-bucket/${object}`) },
        List: {
            actions: ['s3:ListBucket'], on: ['s3 the-bucket'],
            when: { StringLikeIfExists: { 's3:prefix': ['p/ingest/*', 'p/checkpoints/*', 'p/topics/*'] } },
        },
    });
});

test('a gateway may do what the function may, and fetch its program', () => {
    const { Program, ...rest } = policy(template(made, 'Gateway'), 'GatewayRole');
    assert.deepStrictEqual(rest, { ...WRITER, ...TELL_ABSENT });
    assert.deepStrictEqual((Program as { actions: string[] }).actions, ['s3:GetObject']);
});
