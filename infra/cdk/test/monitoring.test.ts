import { Match } from 'aws-cdk-lib/assertions';
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { STORE_EVENTS } from '../monitoring.ts';
import { cdk, resources, stacks, template } from './app.ts';

const monitoring = template(stacks({ httpApi: 'true', gateway: 'true' }), 'Monitoring');

function alarm(metric: string, more: object): void {
    monitoring.hasResourceProperties('AWS::CloudWatch::Alarm', { MetricName: metric, ...more });
}

test('there are alarms for errors', () => {
    alarm('Errors', { Namespace: 'AWS/Lambda', Threshold: 0 });
    alarm('5XXError', { Namespace: 'AWS/ApiGateway' });
    alarm('5xx', { Namespace: 'AWS/ApiGateway' });
});

test('there are alarms for the 99th percentile of the function and of what stands before it', () => {
    alarm('Duration', { ExtendedStatistic: 'p99', Threshold: 1000 });
    alarm('Latency', { ExtendedStatistic: 'p99', Threshold: 1000 });
});

test('there are alarms for throttles of the function and of the table', () => {
    alarm('Throttles', { Namespace: 'AWS/Lambda' });
    alarm('WriteThrottleEvents', { Namespace: 'AWS/DynamoDB' });
    alarm('ReadThrottleEvents', { Namespace: 'AWS/DynamoDB' });
});

test('there are alarms for failures of the store, counted in the logs and by AWS', () => {
    alarm('HttpStoreFailures', {});
    alarm('UpkeepStoreFailures', {});
    alarm('SystemErrors', { Namespace: 'AWS/DynamoDB' });
    alarm('5xxErrors', { Namespace: 'AWS/S3' });
    monitoring.resourcePropertiesCountIs('AWS::Logs::MetricFilter', {
        FilterPattern: '?"event=store_unavailable" ?"event=store_damaged" ?"event=journal_stopped"',
    }, 2);
});

test('the events that are counted are events of the program', () => {
    const events = readFileSync(join(cdk, '../../storage/runtime/events.def'), 'utf8');
    for (const event of STORE_EVENTS) {
        assert.match(events, new RegExp(`EVENT\\([A-Z]+, ${event},`));
    }
});

interface Query {
    Expression?: string;
    Id: string;
    MetricStat?: { Metric: { MetricName: string } };
}

test('the cost of an hour is every metered request times its price', () => {
    const found = resources(monitoring, 'AWS::CloudWatch::Alarm').find((each) => 'Metrics' in each.Properties);
    const queries = found?.Properties['Metrics'] as Query[];
    const counted = queries.flatMap((query) => query.MetricStat?.Metric.MetricName ?? []).sort();
    assert.deepStrictEqual(counted, [
        'ConsumedReadCapacityUnits', 'ConsumedWriteCapacityUnits', 'Count', 'Count', 'Duration', 'Duration',
        'GetRequests', 'Invocations', 'ListRequests', 'PutRequests',
    ]);
    // One of each, in dollars: evaluated as CloudWatch does, where FILL(x, 0) is x when there is a value.
    const expression = queries.find((query) => query.Expression !== undefined)?.Expression ?? '';
    const value = (ids: Record<string, number>) => expression.split(' + ').reduce((sum, term) => {
        const [, id, price] = /^FILL\((\w+), 0\) \* ([0-9.]+)$/.exec(term) ?? assert.fail(term);
        return sum + (ids[id as string] ?? 0) * Number(price);
    }, 0);
    const near = (actual: number, expected: number) => {
        assert.ok(Math.abs(actual - expected) < expected / 1e6, `${actual}`);
    };
    near(value({ wcu: 1e6 }), 0.625);
    near(value({ rcu: 1e6 }), 0.125);
    near(value({ puts: 1e6 }), 5);
    near(value({ lists: 1e6 }), 5);
    near(value({ gets: 1e6 }), 0.4);
    near(value({ calls: 1e6 }), 0.2);
    near(value({ ms: 1e9 }), 1e6 * 0.5 * 13.3334e-6);
    near(value({ rest: 1e6 }), 3.5);
    near(value({ http: 1e6 }), 1);
});

test('costPerHour=0 leaves that alarm out, and requestMetrics=false what needs the metrics of S3', () => {
    const less = template(stacks({ costPerHour: '0', requestMetrics: 'false' }), 'Monitoring');
    assert.ok(resources(less, 'AWS::CloudWatch::Alarm').every((each) => !('Metrics' in each.Properties)));
    assert.ok(!JSON.stringify(less.toJSON()).includes('AWS/S3'));
});

test('a gateway that is away raises an alarm', () => {
    alarm('UnHealthyHostCount', { Namespace: 'AWS/NetworkELB' });
});

test('every alarm goes to the topic, and there to the address that was given', () => {
    for (const each of resources(monitoring, 'AWS::CloudWatch::Alarm')) {
        assert.strictEqual((each.Properties['AlarmActions'] as object[]).length, 1);
    }
    template(stacks({ alarmEmail: 'ops@example.com' }), 'Monitoring').hasResourceProperties('AWS::SNS::Subscription', {
        Protocol: 'email', Endpoint: 'ops@example.com',
    });
});

test('there is one dashboard with a chart for each concern', () => {
    const [dashboard] = resources(monitoring, 'AWS::CloudWatch::Dashboard');
    const body = JSON.stringify(dashboard?.Properties['DashboardBody']);
    for (const title of ['Requests', 'Errors', 'Milliseconds, p99', 'Throttles', 'Store failures', 'Dollars per hour',
                         'Gateways']) {
        assert.ok(body.includes(`\\"title\\":\\"${title}`), title);
    }
    monitoring.hasResourceProperties('AWS::SNS::TopicPolicy', { PolicyDocument: Match.objectLike({}) });
});
