import { Match } from 'aws-cdk-lib/assertions';
import assert from 'node:assert';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { resources, stacks, template } from './app.ts';

const gateway = template(stacks({ gateway: 'true', clients: '10.9.0.0/16,192.168.7.0/24' }), 'Gateway');

test('without gateway=true there is no such stack', () => {
    assert.strictEqual(stacks().node.tryFindChild('Gateway'), undefined);
});

test('the network has no way to the internet, and gateway endpoints for S3 and DynamoDB', () => {
    for (const type of ['AWS::EC2::InternetGateway', 'AWS::EC2::NatGateway']) {
        gateway.resourceCountIs(type, 0);
    }
    const endpoints = resources(gateway, 'AWS::EC2::VPCEndpoint').map((each) => each.Properties);
    assert.deepStrictEqual(endpoints.map((each) => each['VpcEndpointType']), ['Gateway', 'Gateway']);
    const names = endpoints.map((each) => JSON.stringify(each['ServiceName'])).sort();
    assert.match(names[0] ?? '', /\.dynamodb"/);
    assert.match(names[1] ?? '', /\.s3"/);
});

test('the load balancer is internal, listens on 9092 and asks /health over HTTP', () => {
    gateway.hasResourceProperties('AWS::ElasticLoadBalancingV2::LoadBalancer', { Type: 'network', Scheme: 'internal' });
    gateway.hasResourceProperties('AWS::ElasticLoadBalancingV2::Listener', { Port: 9092, Protocol: 'TCP' });
    gateway.hasResourceProperties('AWS::ElasticLoadBalancingV2::TargetGroup', {
        Port: 9092, HealthCheckProtocol: 'HTTP', HealthCheckPort: '8080', HealthCheckPath: '/health',
    });
});

test('the instances are arm64, take no metadata requests of version 1, and their disks are encrypted', () => {
    gateway.hasResourceProperties('AWS::EC2::LaunchTemplate', {
        LaunchTemplateData: {
            InstanceType: 't4g.small',
            MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
            BlockDeviceMappings: [{ Ebs: Match.objectLike({ Encrypted: true }) }],
        },
    });
});

test('a machine that fails is replaced, a gateway that says that the store is away is not', () => {
    gateway.hasResourceProperties('AWS::AutoScaling::AutoScalingGroup', {
        MinSize: '2', MaxSize: '3', HealthCheckType: 'EC2',
    });
});

test('clients connect from the network itself and from the ranges that are named', () => {
    const ranges = resources(gateway, 'AWS::EC2::SecurityGroup').map((each) => {
        const rules = each.Properties['SecurityGroupIngress'] as { CidrIp: unknown; FromPort: number }[];
        return rules.map((rule) => {
            assert.strictEqual(rule.FromPort, 9092);
            return typeof rule.CidrIp === 'string' ? rule.CidrIp : 'own';
        });
    });
    const each = ['own', '10.9.0.0/16', '192.168.7.0/24'];
    assert.deepStrictEqual(ranges, [each, each]); // of the load balancer and of the gateways
});

test('the start script is whole, and a shell can read it', () => {
    const [made] = resources(gateway, 'AWS::EC2::LaunchTemplate');
    const data = made?.Properties['LaunchTemplateData'] as { UserData: { 'Fn::Base64': { 'Fn::Join': unknown[][] } } };
    const parts = data.UserData['Fn::Base64']['Fn::Join'][1] ?? [];
    const script = parts.map((part) => (typeof part === 'string' ? part : 'value')).join('');
    assert.doesNotMatch(script, /@[A-Z_]+@/);
    assert.match(script, /^STREAMS_ADVERTISE=\$address:9092$/m);
    execFileSync('bash', ['-n'], { input: script });
});
