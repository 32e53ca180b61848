/*
 * The parts as CloudFormation stacks: Data, Api, Gateway and Monitoring as CDK deploys them, or all of them in one
 * plain template whose parameters say where the programs lie.
 */
import { type App, Aspects, BootstraplessSynthesizer, CfnCondition, CfnOutput, CfnParameter, CfnResource, Fn,
         Stack } from 'aws-cdk-lib';
import * as assets from 'aws-cdk-lib/aws-s3-assets';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import type { IConstruct } from 'constructs';
import { existsSync } from 'node:fs';
import { Api } from './api.ts';
import { Data } from './data.ts';
import { Gateway, type Program } from './gateway.ts';
import { Monitoring } from './monitoring.ts';
import { Settings } from './settings.ts';

function file(settings: Settings, name: 'lambdaZip' | 'gatewayBinary'): string {
    const path = settings.text(name);
    if (path === '' || !existsSync(path)) {
        throw new Error(`${name}=${path} is no file: infra/deploy builds it and passes its name`);
    }
    return path;
}

export function makeStacks(app: App): void {
    const settings = new Settings(app.node);
    const name = settings.text('name');
    const stack = (id: string, description: string) => new Stack(app, id, { stackName: `${name}-${id}`, description });
    const apis = stack('Api', 'Serverless Streams: the HTTP door and upkeep');
    // A store that is there already needs no stack of its own: there would be nothing in it.
    const store = settings.text('bucket') === '' ? stack('Data', 'Serverless Streams: bucket and table') : apis;
    const data = new Data(store, 'Data', settings);
    const api = new Api(apis, 'Api', settings, data, lambda.Code.fromAsset(file(settings, 'lambdaZip')));
    let gateway: Gateway | undefined;
    if (settings.yes('gateway')) {
        const gateways = stack('Gateway', 'Serverless Streams: the Kafka door');
        const program = new assets.Asset(gateways, 'Program', { path: file(settings, 'gatewayBinary') });
        gateway = new Gateway(gateways, 'Gateway', settings, data, {
            bucketArn: program.bucket.bucketArn, bucketName: program.s3BucketName, key: program.s3ObjectKey,
        });
    }
    new Monitoring(stack('Monitoring', 'Serverless Streams: dashboard and alarms'), 'Monitoring', settings, data, api,
                   gateway);
}

/* One stack that needs neither CDK nor its bootstrap stack. */
export function makePlainStack(app: App): void {
    const settings = new Settings(app.node);
    const stack = new Stack(app, 'Plain', {
        synthesizer: new BootstraplessSynthesizer(),
        description: 'Serverless Streams: Kafka and HTTP on S3 and DynamoDB',
    });
    const text = (id: string, description: string, fallback?: string) => new CfnParameter(stack, id, {
        description, ...(fallback === undefined ? {} : { default: fallback }),
    });
    const programs = text('Programs', 'The bucket, in this region, that holds the programs');
    const zip = text('LambdaZip', 'The name there of the zip with the function for arm64', 'lambda-arm64.zip');
    const binary = text('GatewayBinary', 'The name there of the gateway for arm64; empty: no gateway', '');
    const data = new Data(stack, 'Data', settings);
    const api = new Api(stack, 'Api', settings, data, lambda.Code.fromCfnParameters({
        bucketNameParam: programs, objectKeyParam: zip,
    }));
    const program: Program = {
        bucketArn: stack.formatArn({ service: 's3', region: '', account: '', resource: programs.valueAsString }),
        bucketName: programs.valueAsString, key: binary.valueAsString,
    };
    const gateway = new Gateway(stack, 'Gateway', settings, data, program);
    const wanted = new CfnCondition(stack, 'WithGateway', {
        expression: Fn.conditionNot(Fn.conditionEquals(binary.valueAsString, '')),
    });
    Aspects.of(gateway).add({
        visit(node: IConstruct): void {
            if (node instanceof CfnResource) {
                node.cfnOptions.condition = wanted;
            } else if (node instanceof CfnOutput) {
                node.condition = wanted;
            }
        },
    });
    new Monitoring(stack, 'Monitoring', settings, data, api);
}
