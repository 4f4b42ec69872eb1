"""FelixConfiguration: what Felix is told, as far as routes go.

The class holds the fields that decide which routes a node programs, and how. The many others (iptables, eBPF,
metrics, logs) are known by name, accepted and dropped: a misspelt field is still a mistake.

Follows the CRD, and Felix's config parameters for what is meant when a field is not set.
"""

from __future__ import annotations

from collections.abc import Container
from typing import ClassVar, Literal

import attrs

from protocol.v3.fields import IPv4Text, IPv6Text, Port, Priority, SelectorText, UInt8
from protocol.v3.metadata import Resource

ProgramClusterRoutes = Literal["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"]

_ELSEWHERE = """
allowIPIPPacketsFromWorkloads allowVXLANPacketsFromWorkloads awsSrcDstCheck bpfAttachType bpfCTLBLogFilter
bpfConnectTimeLoadBalancing bpfConnectTimeLoadBalancingEnabled bpfConntrackLogLevel bpfConntrackMode
bpfConntrackTimeouts bpfDSROptoutCIDRs bpfDataIfacePattern bpfDisableGROForIfaces bpfDisableUnprivileged
bpfEnabled bpfEnforceRPF bpfExcludeCIDRsFromNAT bpfExportBufferSizeMB bpfExtToServiceConnmark
bpfExternalServiceMode bpfForceTrackPacketsFromIfaces bpfHostConntrackBypass bpfHostNetworkedNATWithoutCTLB
bpfIPFragTimeout bpfIPFragmentReassemblyEnabled bpfJITHardening bpfKubeProxyHealthzPort
bpfKubeProxyIptablesCleanupEnabled bpfKubeProxyMinSyncPeriod bpfL3IfacePattern bpfLogFilters bpfLogLevel
bpfMaglevMaxEndpointsPerService bpfMaglevMaxServices bpfMapSizeConntrack bpfMapSizeConntrackCleanupQueue
bpfMapSizeConntrackScaling bpfMapSizeIPSets bpfMapSizeIfState bpfMapSizeNATAffinity bpfMapSizeNATBackend
bpfMapSizeNATFrontend bpfMapSizePerCpuConntrack bpfMapSizeRoute bpfOverlayHostSourceIP bpfPSNATPorts
bpfPolicyDebugEnabled bpfProfiling bpfRedirectToPeer cgroupV2Path chainInsertMode dataplaneDriver
dataplaneWatchdogTimeout debugDisableLogDropping debugHost debugMemoryProfilePath debugPort
debugSimulateCalcGraphHangAfter debugSimulateDataplaneApplyDelay debugSimulateDataplaneHangAfter
defaultEndpointToHostAction disableConntrackInvalidCheck endpointReportingDelay endpointReportingEnabled
endpointStatusPathPrefix failsafeInboundHostPorts failsafeOutboundHostPorts featureDetectOverride featureGates
floatingIPs flowLogsCollectorDebugTrace flowLogsFlushInterval flowLogsGoldmaneServer flowLogsLocalReporter
flowLogsPolicyEvaluationMode genericXDPEnabled goGCThreshold goMaxProcs goMemoryLimitMB healthEnabled healthHost
healthPort healthTimeoutOverrides interfaceExclude interfacePrefix interfaceRefreshInterval ipForwarding
ipsetsRefreshInterval iptablesBackend iptablesFilterAllowAction iptablesFilterDenyAction
iptablesLockProbeInterval iptablesMangleAllowAction iptablesMarkMask iptablesNATOutgoingInterfaceFilter
iptablesPostWriteCheckInterval iptablesRefreshInterval istioAmbientMode istioDSCPMark kubeNodePortRanges
liveMigrationRouteConvergenceTime localSubnetL2Reachability localSubnetL2ReachabilityRefreshInterval
logActionRateLimit logActionRateLimitBurst logDebugFilenameRegex logFilePath logPrefix logSeverityFile
logSeverityScreen logSeveritySys maxIpsetSize metadataAddr metadataPort mtuIfacePattern natOutgoingAddress
natOutgoingExclusions natPortRange netlinkTimeout nftablesFilterAllowAction nftablesFilterDenyAction
nftablesFlowTableDataIfacePattern nftablesFlowTableOffload nftablesMangleAllowAction nftablesMarkMask
nftablesMode nftablesRefreshInterval openstackRegion policySyncPathPrefix prometheusGoMetricsEnabled
prometheusMetricsCAFile prometheusMetricsCertFile prometheusMetricsClientAuth prometheusMetricsEnabled
prometheusMetricsHost prometheusMetricsKeyFile prometheusMetricsPort prometheusProcessMetricsEnabled
prometheusWireGuardMetricsEnabled removeExternalRoutes reportingInterval reportingTTL requireMTUFile
routeRefreshInterval routeSource routeSyncDisabled routeTableRange routeTableRanges serviceLoopPrevention
sidecarAccelerationEnabled usageReportingEnabled usageReportingInitialDelay usageReportingInterval
useInternalDataplaneDriver windowsManageFirewallRules wireguardHostEncryptionEnabled wireguardInterfaceName
wireguardInterfaceNameV6 wireguardKeepAlive wireguardListeningPort wireguardListeningPortV6 wireguardMTU
wireguardMTUV6 wireguardRoutingRulePriority wireguardThreadingEnabled workloadSourceSpoofing xdpEnabled
xdpRefreshInterval
"""


@attrs.frozen(kw_only=True)
class FelixConfigurationSpec:
    """None is "not set": a node's own resource overrides what it sets, and Felix has a default for the rest."""

    ignores: ClassVar[Container[str]] = frozenset(_ELSEWHERE.split())

    node_selector: SelectorText = ""
    ipv6_support: bool | None = None
    ipip_enabled: bool | None = None
    ipip_mtu: int | None = None
    vxlan_enabled: bool | None = None
    vxlan_mtu: int | None = None
    vxlan_mtu_v6: int | None = None
    vxlan_port: Port | None = None
    vxlan_vni: int | None = None
    wireguard_enabled: bool | None = None
    wireguard_enabled_v6: bool | None = None
    program_cluster_routes: ProgramClusterRoutes | None = None
    device_route_protocol: UInt8 | None = None
    device_route_source_address: IPv4Text = ""
    device_route_source_address_ipv6: IPv6Text = ""
    external_nodes_list: tuple[str, ...] = ()
    ipv4_normal_route_priority: Priority | None = None
    ipv4_elevated_route_priority: Priority | None = None
    ipv6_normal_route_priority: Priority | None = None
    ipv6_elevated_route_priority: Priority | None = None


@attrs.frozen
class FelixConfiguration(Resource):
    kind: ClassVar[str] = "FelixConfiguration"
    plural: ClassVar[str] = "felixconfigurations"

    spec: FelixConfigurationSpec = FelixConfigurationSpec()
