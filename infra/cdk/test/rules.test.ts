/* cdk-nag's AWS Solutions rules, over everything that can be deployed. */
import { type App, Validations } from 'aws-cdk-lib';
import { CfnBucket } from 'aws-cdk-lib/aws-s3';
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Checks } from '../exceptions.ts';
import { cdk, plain, stacks } from './app.ts';

function checked(app: App): App {
    Validations.of(app).addPlugins(new Checks(app));
    return app;
}

const all = { gateway: 'true', httpApi: 'true', functionUrl: 'none', streaming: 'both' };

test('the default deployment keeps to the rules', () => {
    checked(stacks()).synth();
});

test('so does one with everything in it', () => {
    checked(stacks(all)).synth();
});

test('so does one on a store that was there before', () => {
    checked(stacks({ ...all, auth: 'iam', bucket: 'the-bucket', table: 'the-table' })).synth();
});

test('so does the plain template', () => {
    checked(plain({ httpApi: 'true' })).synth();
});

test('a bucket that breaks them fails the synthesis', () => {
    const app = checked(stacks());
    new CfnBucket(app.node.findChild('Data').node.findChild('Data'), 'Planted');
    assert.throws(() => app.synth(), /Validation failed/);
    const report = readFileSync(join(app.outdir, 'validation-report.json'), 'utf8');
    assert.match(report, /AwsSolutions-S1"/);
    assert.match(report, /AwsSolutions-S10"/);
});

test('every exception stands where except() puts it, with a reason', () => {
    for (const file of ['api', 'data', 'gateway', 'permissions', 'monitoring', 'stacks']) {
        assert.doesNotMatch(readFileSync(join(cdk, `${file}.ts`), 'utf8'), /acknowledge/);
    }
});
