package diag

import "strings"

// words are the clouds' names of the parameters that Entry.Change names in
// native's words. A parameter that a cloud does not have is absent, and then
// native's word stands for what is beside the body.
var words = map[string]map[string][]string{
	"ike.proposals": {
		alibaba: {"IkeConfig.IkeEncAlg", "IkeConfig.IkeAuthAlg", "IkeConfig.IkePfs"},
		huawei:  {"ikepolicy.encryption_algorithm", "ikepolicy.authentication_algorithm", "ikepolicy.dh_group"},
		tencent: {"IKEOptionsSpecification.PropoEncryAlgorithm", "IKEOptionsSpecification.PropoAuthenAlgorithm", "IKEOptionsSpecification.DhGroupName"},
	},
	"ike.lifetime": {
		alibaba: {"IkeConfig.IkeLifetime"}, huawei: {"ikepolicy.lifetime_seconds"}, tencent: {"IKEOptionsSpecification.IKESaLifetimeSeconds"},
	},
	"ike_version": {
		alibaba: {"IkeConfig.IkeVersion"}, huawei: {"ikepolicy.ike_version"}, tencent: {"IKEOptionsSpecification.IKEVersion"},
	},
	"mode": {
		alibaba: {"IkeConfig.IkeMode"}, huawei: {"ikepolicy.phase1_negotiation_mode"}, tencent: {"IKEOptionsSpecification.ExchangeMode"},
	},
	"esp.proposals": {
		alibaba: {"IpsecConfig.IpsecEncAlg", "IpsecConfig.IpsecAuthAlg", "IpsecConfig.IpsecPfs"},
		huawei:  {"ipsecpolicy.encryption_algorithm", "ipsecpolicy.authentication_algorithm", "ipsecpolicy.pfs"},
		tencent: {"IPSECOptionsSpecification.EncryptAlgorithm", "IPSECOptionsSpecification.IntegrityAlgorith", "IPSECOptionsSpecification.PfsDhGroup"},
	},
	"psk":            {alibaba: {"IkeConfig.Psk"}, huawei: {"psk"}, tencent: {"PreShareKey"}},
	"local.id":       {alibaba: {"IkeConfig.RemoteId"}, huawei: {"ikepolicy.peer_id"}, tencent: {"IKEOptionsSpecification.RemoteIdentity"}},
	"remote.id":      {alibaba: {"IkeConfig.LocalId"}, huawei: {"ikepolicy.local_id"}, tencent: {"IKEOptionsSpecification.LocalIdentity"}},
	"local.subnets":  {alibaba: {"RemoteSubnet"}, huawei: {"peer_subnets", "policy_rules"}, tencent: {"SecurityPolicyDatabases.RemoteCidrBlock"}},
	"remote.subnets": {alibaba: {"LocalSubnet"}, huawei: {"policy_rules"}, tencent: {"SecurityPolicyDatabases.LocalCidrBlock"}},
	"remote.address": {alibaba: {"VpnGatewayId"}, huawei: {"vgw_id"}, tencent: {"VpnGatewayId"}},
	"local.address":  {alibaba: {"CustomerGatewayId"}, huawei: {"cgw_id"}, tencent: {"CustomerGatewayId"}},
	"natt":           {alibaba: {"EnableNatTraversal"}, huawei: {}, tencent: {}}, // an empty list: these bodies cannot turn it off
	"initiate":       {alibaba: {"EffectImmediately"}, huawei: {}, tencent: {"NegotiationType"}},
	"dpd":            {alibaba: {"EnableDpd"}, huawei: {"ikepolicy.dpd"}, tencent: {"DpdEnable", "DpdTimeout", "DpdAction"}},
	"lifetime":       {alibaba: {"IkeConfig.IkeLifetime", "IpsecConfig.IpsecLifetime"}, huawei: {"ikepolicy.lifetime_seconds", "ipsecpolicy.lifetime_seconds"}, tencent: {"IKEOptionsSpecification.IKESaLifetimeSeconds", "IPSECOptionsSpecification.IPSECSaLifetimeSeconds"}},
	"health":         {alibaba: {"HealthCheckConfig"}, huawei: {"enable_nqa"}, tencent: {"EnableHealthCheck", "HealthCheckConfig"}},
	"local.asn":      {alibaba: {"customer_gateways.asn"}, huawei: {"customer_gateways.asn"}, tencent: {"customer_gateways.asn"}},
	"remote.asn":     {alibaba: {"BgpConfig.LocalAsn"}, huawei: {"vpn_gateways.asn"}, tencent: {"vpn_gateways.asn"}},
	"inside.local":   {alibaba: {"BgpConfig.TunnelCidr", "BgpConfig.LocalBgpIp"}, huawei: {"tunnel_local_address", "tunnel_peer_address"}, tencent: {"BgpConfig.TunnelCidr", "BgpConfig.RemoteBgpIp"}},
}

// Parameters are the parameters to change, in the words of a dialect. A cloud's
// body is written from the cloud's end, so what is local to this host is remote
// there: this speaks to the customer's side.
func (e *Entry) Parameters(dialect string) []string {
	if e.Change == "" {
		return nil
	}
	var out []string
	for _, p := range strings.Split(e.Change, ", ") {
		if w := words[p][dialect]; w != nil {
			out = append(out, w...)
		} else {
			out = append(out, p)
		}
	}
	return out
}
