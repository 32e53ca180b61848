/*
 * The HTTP door: one function behind a REST API, an HTTP API and a URL of its own, as the settings choose, and the same
 * program on a schedule for upkeep. The function holds no state, so nothing here limits how many run at once.
 */
import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as apigateway from 'aws-cdk-lib/aws-apigateway';
import * as apigatewayv2 from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpIamAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import * as events from 'aws-cdk-lib/aws-events';
import * as targets from 'aws-cdk-lib/aws-events-targets';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Data } from './data.ts';
import { except } from './exceptions.ts';
import { output } from './outputs.ts';
import { type Party, permit } from './permissions.ts';
import type { Settings } from './settings.ts';

const THROTTLE = { rateLimit: 500, burstLimit: 1000 };
/* So long API Gateway waits. The program answers a second earlier (request.timeout.ms in lambda/runtime). */
const HTTP_TIMEOUT = Duration.seconds(29);
const UPKEEP_TIMEOUT = Duration.minutes(14);
const OPEN = 'The API is open unless auth=iam is set; infra/deploy says so before it deploys.';
const LOGS_KEPT = logs.RetentionDays.ONE_MONTH;

export class Api extends Construct {
    readonly http: lambda.Function;
    readonly upkeep: lambda.Function;
    readonly httpLogs: logs.LogGroup;
    readonly upkeepLogs: logs.LogGroup;
    readonly restApi?: apigateway.RestApi;
    readonly httpApi?: apigatewayv2.HttpApi;

    constructor(scope: Construct, id: string, private readonly settings: Settings, private readonly data: Data,
                private readonly code: lambda.Code) {
        super(scope, id);
        this.httpLogs = this.logGroup('HttpLogs');
        this.upkeepLogs = this.logGroup('UpkeepLogs');
        this.http = this.makeFunction('Http', 'writer', HTTP_TIMEOUT, this.httpLogs);
        this.upkeep = this.makeFunction('Upkeep', 'upkeep', UPKEEP_TIMEOUT, this.upkeepLogs);
        output(this, 'UpkeepFunction', this.upkeep.functionName);
        new events.Rule(this, 'UpkeepSchedule', {
            schedule: events.Schedule.rate(Duration.minutes(settings.number('upkeepMinutes'))),
            // A run that failed is not repeated: the next one does what it left.
            targets: [new targets.LambdaFunction(this.upkeep, { retryAttempts: 0 })],
        });
        if (settings.yes('restApi')) {
            this.restApi = this.makeRestApi();
        }
        if (settings.yes('httpApi')) {
            this.httpApi = this.makeHttpApi();
        }
        if (settings.text('functionUrl') !== 'off') {
            this.makeFunctionUrl();
        }
    }

    private streams(front: 'url' | 'rest'): boolean {
        return ['both', front].includes(this.settings.text('streaming'));
    }

    private logGroup(id: string): logs.LogGroup {
        return new logs.LogGroup(this, id, { retention: LOGS_KEPT, removalPolicy: RemovalPolicy.DESTROY });
    }

    private makeFunction(id: string, party: Party, timeout: Duration, logGroup: logs.LogGroup): lambda.Function {
        const role = new iam.Role(this, `${id}Role`, { assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com') });
        // Its own log group, instead of AWS's managed policy for all log groups of the account.
        const log = new iam.PolicyStatement({
            sid: 'Log', actions: ['logs:CreateLogStream', 'logs:PutLogEvents'], resources: [logGroup.logGroupArn],
        });
        const policy = permit(party, role, this.data, this.settings, [log]);
        const made = new lambda.Function(this, id, {
            code: this.code,
            handler: 'bootstrap',
            runtime: lambda.Runtime.PROVIDED_AL2023,
            architecture: this.settings.text('architecture') === 'arm64' ? lambda.Architecture.ARM_64
                                                                         : lambda.Architecture.X86_64,
            memorySize: this.settings.number('memory'),
            timeout,
            role,
            logGroup,
            environment: {
                STREAMS_STORE: this.data.url,
                ...(this.settings.text('streaming') === 'none' ? {}
                    : { STREAMS_RESPONSE_STREAM: this.settings.text('streaming') }),
            },
        });
        // The function must not start before it may read its store.
        made.node.addDependency(policy);
        return made;
    }

    private makeRestApi(): apigateway.RestApi {
        const accessLogs = this.logGroup('RestApiLogs');
        const iamOnly = this.settings.text('auth') === 'iam';
        const api = new apigateway.RestApi(this, 'RestApi', {
            restApiName: this.settings.text('name'),
            endpointConfiguration: { types: [apigateway.EndpointType.REGIONAL] },
            // API Gateway writes logs by a role of the whole account and region. Other APIs may come to rely on it, so
            // it stays when this stack goes.
            cloudWatchRole: this.settings.yes('apiGatewayRole'),
            deployOptions: {
                stageName: 'v1',
                throttlingRateLimit: THROTTLE.rateLimit,
                throttlingBurstLimit: THROTTLE.burstLimit,
                metricsEnabled: true,
                loggingLevel: apigateway.MethodLoggingLevel.ERROR,
                accessLogDestination: new apigateway.LogGroupLogDestination(accessLogs),
                accessLogFormat: apigateway.AccessLogFormat.jsonWithStandardFields(),
            },
            defaultIntegration: new apigateway.LambdaIntegration(this.http, {
                proxy: true, allowTestInvoke: false,
                ...(this.streams('rest') ? { responseTransferMode: apigateway.ResponseTransferMode.STREAM } : {}),
            }),
            defaultMethodOptions: {
                authorizationType: iamOnly ? apigateway.AuthorizationType.IAM : apigateway.AuthorizationType.NONE,
            },
        });
        // Routes are the program's own (lambda/routes.def): a second table of them here could only differ.
        api.root.addMethod('ANY');
        api.root.addProxy({ anyMethod: true });
        except(api, 'APIG2', 'The program checks every request itself and says what is wrong with it.');
        except(api, 'APIG3', 'A web ACL costs more than the whole of a small deployment. Requests are throttled, and ' +
                             'one can be associated with the stage from outside.');
        except(api, 'APIG4', OPEN);
        except(api, 'COG4', 'Callers are programs with IAM credentials (auth=iam), not users of a Cognito pool.');
        except(api, 'IAM4', 'The managed policy is what API Gateway asks for in the role of the account.');
        api.node.tryRemoveChild('Endpoint'); // CDK's own output, with a name nobody can type
        output(this, 'RestApiUrl', api.url);
        return api;
    }

    private makeHttpApi(): apigatewayv2.HttpApi {
        const integration = new HttpLambdaIntegration('Integration', this.http);
        const api = new apigatewayv2.HttpApi(this, 'HttpApi', {
            apiName: this.settings.text('name'),
            createDefaultStage: false,
            defaultIntegration: integration,
            ...(this.settings.text('auth') === 'iam' ? { defaultAuthorizer: new HttpIamAuthorizer() } : {}),
        });
        const accessLogs = this.logGroup('HttpApiLogs');
        const stage = api.addStage('Stage', { stageName: 'v1', autoDeploy: true, throttle: THROTTLE });
        (stage.node.defaultChild as apigatewayv2.CfnStage).accessLogSettings = {
            destinationArn: accessLogs.logGroupArn,
            format: JSON.stringify({
                requestId: '$context.requestId', ip: '$context.identity.sourceIp', time: '$context.requestTime',
                method: '$context.httpMethod', path: '$context.path', status: '$context.status',
                bytes: '$context.responseLength', latencyMs: '$context.responseLatency',
                error: '$context.integrationErrorMessage',
            }),
        };
        except(api, 'APIG4', OPEN);
        output(this, 'HttpApiUrl', stage.url);
        return api;
    }

    private makeFunctionUrl(): void {
        const url = this.http.addFunctionUrl({
            authType: this.settings.text('functionUrl') === 'iam' ? lambda.FunctionUrlAuthType.AWS_IAM
                                                                  : lambda.FunctionUrlAuthType.NONE,
            invokeMode: this.streams('url') ? lambda.InvokeMode.RESPONSE_STREAM : lambda.InvokeMode.BUFFERED,
        });
        output(this, 'FunctionUrl', url.url);
    }
}
