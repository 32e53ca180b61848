import { Match } from 'aws-cdk-lib/assertions';
import assert from 'node:assert';
import { test } from 'node:test';
import { resources, stacks, template } from './app.ts';

const data = template(stacks(), 'Data');

test('the bucket\'s lifecycle aborts old multipart uploads and does nothing else', () => {
    const [bucket] = resources(data, 'AWS::S3::Bucket');
    assert.deepStrictEqual(bucket?.Properties['LifecycleConfiguration'], {
        Rules: [{
            Id: 'abort-old-uploads', Status: 'Enabled', AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 },
        }],
    });
});

test('the bucket is closed to the public and to plain HTTP', () => {
    data.hasResourceProperties('AWS::S3::Bucket', {
        PublicAccessBlockConfiguration: {
            BlockPublicAcls: true, BlockPublicPolicy: true, IgnorePublicAcls: true, RestrictPublicBuckets: true,
        },
        OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
    });
    data.hasResourceProperties('AWS::S3::BucketPolicy', {
        PolicyDocument: {
            Statement: Match.arrayWith([Match.objectLike({
                Effect: 'Deny', Principal: { AWS: '*' }, Action: 's3:*',
                Condition: { Bool: { 'aws:SecureTransport': 'false' } },
            })]),
        },
    });
});

test('the table is on demand, with TTL, point-in-time recovery and a lock against deletion', () => {
    data.hasResourceProperties('AWS::DynamoDB::Table', {
        KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }, { AttributeName: 'sk', KeyType: 'RANGE' }],
        AttributeDefinitions: [
            { AttributeName: 'pk', AttributeType: 'S' }, { AttributeName: 'sk', AttributeType: 'N' },
        ],
        BillingMode: 'PAY_PER_REQUEST',
        TimeToLiveSpecification: { AttributeName: 'expires', Enabled: true },
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
        DeletionProtectionEnabled: true,
    });
});

test('bucket and table are kept when the stack goes', () => {
    for (const type of ['AWS::S3::Bucket', 'AWS::DynamoDB::Table']) {
        data.hasResource(type, { DeletionPolicy: 'Retain', UpdateReplacePolicy: 'Retain' });
    }
});

test('an existing bucket and table are used and none is made', () => {
    const made = stacks({ bucket: 'old-bucket', table: 'old-table', prefix: 'a/b' });
    assert.deepStrictEqual(made.synth().stacks.map((stack) => stack.id), ['Api', 'Monitoring']);
    template(made, 'Api').resourceCountIs('AWS::S3::Bucket', 0);
    template(made, 'Api').resourceCountIs('AWS::DynamoDB::Table', 0);
    template(made, 'Api').hasResourceProperties('AWS::Lambda::Function', {
        Environment: { Variables: { STREAMS_STORE: 's3://old-bucket/a/b?table=old-table' } },
    });
});
