import { Match } from 'aws-cdk-lib/assertions';
import assert from 'node:assert';
import { test } from 'node:test';
import { resources, stacks, template } from './app.ts';

const api = template(stacks({ httpApi: 'true' }), 'Api');

test('the functions are arm64, run the zip\'s bootstrap and know the store', () => {
    for (const each of resources(api, 'AWS::Lambda::Function')) {
        assert.deepStrictEqual(each.Properties['Architectures'], ['arm64']);
        assert.strictEqual(each.Properties['Runtime'], 'provided.al2023');
        assert.strictEqual(each.Properties['Handler'], 'bootstrap');
        assert.ok(JSON.stringify(each.Properties['Environment']).includes('"s3://"'));
    }
    api.resourceCountIs('AWS::Lambda::Function', 2);
});

test('a switch of the context makes them x86-64', () => {
    const other = template(stacks({ architecture: 'x86_64' }), 'Api');
    for (const each of resources(other, 'AWS::Lambda::Function')) {
        assert.deepStrictEqual(each.Properties['Architectures'], ['x86_64']);
    }
});

test('the REST API has the stage v1, throttled to 500 a second and bursts of 1000, with access logs', () => {
    api.hasResourceProperties('AWS::ApiGateway::Stage', {
        StageName: 'v1',
        MethodSettings: [Match.objectLike({
            HttpMethod: '*', ResourcePath: '/*', ThrottlingRateLimit: 500, ThrottlingBurstLimit: 1000,
        })],
        AccessLogSetting: { DestinationArn: Match.anyValue(), Format: Match.stringLikeRegexp('requestId.*status') },
    });
});

test('the REST API hands every path and method to the function', () => {
    const methods = resources(api, 'AWS::ApiGateway::Method');
    assert.deepStrictEqual(methods.map((each) => each.Properties['HttpMethod']), ['ANY', 'ANY']);
    api.hasResourceProperties('AWS::ApiGateway::Resource', { PathPart: '{proxy+}' });
});

test('the HTTP API is throttled and logged as the REST API is', () => {
    api.hasResourceProperties('AWS::ApiGatewayV2::Stage', {
        StageName: 'v1', AutoDeploy: true,
        DefaultRouteSettings: { ThrottlingRateLimit: 500, ThrottlingBurstLimit: 1000 },
        AccessLogSettings: { DestinationArn: Match.anyValue(), Format: Match.stringLikeRegexp('requestId.*status') },
    });
});

test('the HTTP API is made only when it is asked for', () => {
    template(stacks(), 'Api').resourceCountIs('AWS::ApiGatewayV2::Api', 0);
});

test('the function URL asks for IAM unless it is opened, and can be left out', () => {
    api.hasResourceProperties('AWS::Lambda::Url', { AuthType: 'AWS_IAM', InvokeMode: 'BUFFERED' });
    template(stacks({ functionUrl: 'none' }), 'Api').hasResourceProperties('AWS::Lambda::Url', { AuthType: 'NONE' });
    template(stacks({ functionUrl: 'off' }), 'Api').resourceCountIs('AWS::Lambda::Url', 0);
});

test('auth=iam closes the REST API and the HTTP API', () => {
    const closed = template(stacks({ auth: 'iam', httpApi: 'true' }), 'Api');
    const routes = resources(closed, 'AWS::ApiGatewayV2::Route');
    assert.strictEqual(routes.length, 1);
    for (const each of [...resources(closed, 'AWS::ApiGateway::Method'), ...routes]) {
        assert.strictEqual(each.Properties['AuthorizationType'], 'AWS_IAM');
    }
});

test('the program is told which front ends stream', () => {
    const streaming = template(stacks({ streaming: 'both' }), 'Api');
    streaming.hasResourceProperties('AWS::Lambda::Url', { InvokeMode: 'RESPONSE_STREAM' });
    streaming.hasResourceProperties('AWS::ApiGateway::Method', { Integration: { ResponseTransferMode: 'STREAM' } });
    streaming.hasResourceProperties('AWS::Lambda::Function', {
        Environment: { Variables: { STREAMS_RESPONSE_STREAM: 'both' } },
    });
});

test('upkeep runs on a schedule, and a run that failed is not repeated', () => {
    api.hasResourceProperties('AWS::Events::Rule', {
        ScheduleExpression: 'rate(5 minutes)', State: 'ENABLED',
        Targets: [Match.objectLike({
            Arn: { 'Fn::GetAtt': [Match.stringLikeRegexp('Upkeep'), 'Arn'] }, RetryPolicy: { MaximumRetryAttempts: 0 },
        })],
    });
});

test('outputs have names that can be typed', () => {
    for (const name of ['RestApiUrl', 'HttpApiUrl', 'FunctionUrl']) {
        api.hasOutput(name, {});
    }
});
