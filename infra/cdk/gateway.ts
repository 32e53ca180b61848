/*
 * The Kafka door: gateways on EC2 behind a network load balancer, in a network of their own that has no way to the
 * internet. They reach S3 and DynamoDB by gateway endpoints, which cost nothing, and nothing else.
 *
 * EC2 and not Fargate: the gateway is one static program, which an instance fetches from S3 as it starts. Fargate would
 * need an image, a registry, and paid endpoints for both.
 *
 * A client bootstraps at the load balancer and then talks to each gateway at the address that it advertises, its own: a
 * group's coordinator is one gateway and not another. So clients must reach the subnets (from this network, a peered
 * one or a VPN), and the load balancer carries next to nothing.
 *
 * An instance is replaced when the machine fails, never when /health does: /health also says that the store is away,
 * and killing gateways does not bring it back. systemd restarts a gateway that ends.
 */
import { Aws, Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as autoscaling from 'aws-cdk-lib/aws-autoscaling';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as elb from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Data } from './data.ts';
import { except } from './exceptions.ts';
import { output } from './outputs.ts';
import { permit } from './permissions.ts';
import type { Settings } from './settings.ts';

const KAFKA_PORT = 9092;
const HTTP_PORT = 8080;
const OWN_RANGE = 'The range is that of the network itself, and what the setting clients names.';

/* Where an instance gets the program. */
export interface Program {
    readonly bucketArn: string;
    readonly bucketName: string;
    readonly key: string;
}

export class Gateway extends Construct {
    readonly balancer: elb.NetworkLoadBalancer;
    readonly group: elb.NetworkTargetGroup;

    constructor(scope: Construct, id: string, private readonly settings: Settings, private readonly data: Data,
                private readonly program: Program) {
        super(scope, id);
        const vpc = this.makeNetwork();
        const instances = this.makeInstances(vpc);
        const access = new ec2.SecurityGroup(this, 'BalancerAccess', {
            vpc, description: 'Kafka clients to the load balancer', allowAllOutbound: false,
        });
        const peers = [ec2.Peer.ipv4(vpc.vpcCidrBlock),
                       ...settings.text('clients').split(',').filter((cidr) => cidr !== '').map(ec2.Peer.ipv4)];
        for (const peer of peers) {
            access.addIngressRule(peer, ec2.Port.tcp(KAFKA_PORT), 'Kafka clients');
            instances.connections.allowFrom(peer, ec2.Port.tcp(KAFKA_PORT), 'Kafka clients');
        }
        for (const port of [KAFKA_PORT, HTTP_PORT]) {
            access.connections.allowTo(instances, ec2.Port.tcp(port), 'the load balancer and its health checks');
        }
        except(access, 'EC23', OWN_RANGE);
        this.balancer = new elb.NetworkLoadBalancer(this, 'Balancer', {
            vpc, internetFacing: false, securityGroups: [access], crossZoneEnabled: false,
            vpcSubnets: { subnetType: ec2.SubnetType.PRIVATE_ISOLATED },
        });
        except(this.balancer, 'ELB2', 'Network load balancers log only TLS connections; these are plain TCP.');
        // The gateway closes what is idle for 600 s. The balancer must not forget a connection before that.
        const listener = this.balancer.addListener('Kafka', {
            port: KAFKA_PORT, tcpIdleTimeout: Duration.seconds(660),
        });
        this.group = listener.addTargets('Gateways', {
            port: KAFKA_PORT, targets: [instances], deregistrationDelay: Duration.seconds(30),
            healthCheck: {
                protocol: elb.Protocol.HTTP, port: String(HTTP_PORT), path: '/health', interval: Duration.seconds(10),
                timeout: Duration.seconds(5), healthyThresholdCount: 2, unhealthyThresholdCount: 2,
            },
        });
        output(this, 'BootstrapServers', `${this.balancer.loadBalancerDnsName}:${KAFKA_PORT}`);
    }

    private makeNetwork(): ec2.Vpc {
        const flowLogs = new logs.LogGroup(this, 'FlowLogs', {
            retention: logs.RetentionDays.ONE_MONTH, removalPolicy: RemovalPolicy.DESTROY,
        });
        const vpc = new ec2.Vpc(this, 'Network', {
            maxAzs: 2,
            natGateways: 0,
            subnetConfiguration: [{ name: 'gateways', subnetType: ec2.SubnetType.PRIVATE_ISOLATED, cidrMask: 24 }],
            flowLogs: {
                refused: { destination: ec2.FlowLogDestination.toCloudWatchLogs(flowLogs),
                           trafficType: ec2.FlowLogTrafficType.REJECT },
            },
        });
        const s3 = vpc.addGatewayEndpoint('S3', { service: ec2.GatewayVpcEndpointAwsService.S3 });
        s3.addToPolicy(new iam.PolicyStatement({
            principals: [new iam.AnyPrincipal()],
            actions: ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:ListBucket'],
            resources: [this.data.bucket.bucketArn, this.data.bucket.arnForObjects('*'),
                        `${this.program.bucketArn}/${this.program.key}`],
        }));
        const dynamodb = vpc.addGatewayEndpoint('DynamoDb', { service: ec2.GatewayVpcEndpointAwsService.DYNAMODB });
        dynamodb.addToPolicy(new iam.PolicyStatement({
            principals: [new iam.AnyPrincipal()], actions: ['dynamodb:*'], resources: [this.data.table.tableArn],
        }));
        return vpc;
    }

    private makeInstances(vpc: ec2.Vpc): autoscaling.AutoScalingGroup {
        const role = new iam.Role(this, 'Role', { assumedBy: new iam.ServicePrincipal('ec2.amazonaws.com') });
        const program = new iam.PolicyStatement({
            sid: 'Program', actions: ['s3:GetObject'], resources: [`${this.program.bucketArn}/${this.program.key}`],
        });
        const policy = permit('writer', role, this.data, this.settings, [program]);
        const access = new ec2.SecurityGroup(this, 'GatewayAccess', { vpc, description: 'gateways' });
        except(access, 'EC23', OWN_RANGE);
        const template = new ec2.LaunchTemplate(this, 'Template', {
            instanceType: new ec2.InstanceType(this.settings.text('gatewayInstance')),
            machineImage: ec2.MachineImage.latestAmazonLinux2023({ cpuType: ec2.AmazonLinuxCpuType.ARM_64 }),
            role,
            requireImdsv2: true,
            httpPutResponseHopLimit: 1,
            securityGroup: access,
            userData: ec2.UserData.custom(this.startScript()),
            blockDevices: [{
                deviceName: '/dev/xvda',
                volume: ec2.BlockDeviceVolume.ebs(8, { encrypted: true, volumeType: ec2.EbsDeviceVolumeType.GP3 }),
            }],
        });
        const count = this.settings.number('gatewayCount');
        const group = new autoscaling.AutoScalingGroup(this, 'Gateways', {
            vpc,
            vpcSubnets: { subnetType: ec2.SubnetType.PRIVATE_ISOLATED },
            launchTemplate: template,
            minCapacity: count,
            maxCapacity: count + 1, // room for a new one while an old one drains
            healthChecks: autoscaling.HealthChecks.ec2({ gracePeriod: Duration.minutes(2) }),
            cooldown: Duration.minutes(1),
            // Signals would need a way to CloudFormation's endpoint, which this network does not have.
            updatePolicy: autoscaling.UpdatePolicy.rollingUpdate({
                minInstancesInService: Math.max(1, count - 1), maxBatchSize: 1, pauseTime: Duration.minutes(2),
                waitOnResourceSignals: false,
            }),
        });
        group.node.addDependency(policy); // and the network's endpoints, or the program could not be fetched
        group.node.addDependency(vpc);
        except(group, 'AS3', 'What people need to hear, a gateway that is away, is an alarm of its own.');
        return group;
    }

    private startScript(): string {
        const values: Record<string, string> = {
            REGION: Aws.REGION,
            PROGRAM: `s3://${this.program.bucketName}/${this.program.key}`,
            STORE: this.data.url,
            KAFKA_PORT: String(KAFKA_PORT),
            HTTP_PORT: String(HTTP_PORT),
        };
        const script = readFileSync(join(dirname(fileURLToPath(import.meta.url)), 'gateway-start.sh'), 'utf8');
        return script.replace(/@([A-Z_]+)@/g, (whole, name: string) => {
            const value = values[name];
            if (value === undefined) {
                throw new Error(`gateway-start.sh names ${whole}, which nothing fills in`);
            }
            return value;
        });
    }
}
