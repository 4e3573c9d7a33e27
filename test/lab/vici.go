package lab

// Conn is one connection in the terms of `swanctl.conf` and vici's load-conn. A
// zero field leaves strongSwan's default.
type Conn struct {
	Name        string           `vici:"-"`
	Version     string           `vici:"version"` // "1", "2"
	LocalAddrs  []string         `vici:"local_addrs"`
	RemoteAddrs []string         `vici:"remote_addrs"`
	Proposals   []string         `vici:"proposals"`
	Encap       string           `vici:"encap"`     // "yes" fakes a NAT
	Mobike      string           `vici:"mobike"`    // "no"
	DPDDelay    string           `vici:"dpd_delay"` // "10s"
	RekeyTime   string           `vici:"rekey_time"`
	ReauthTime  string           `vici:"reauth_time"`
	OverTime    string           `vici:"over_time"`
	Fragments   string           `vici:"fragmentation"` // "yes", "no", "force"
	Unique      string           `vici:"unique"`        // "no", "never", "keep", "replace"
	Aggressive  string           `vici:"aggressive"`
	Tries       string           `vici:"keyingtries"`
	Local       *Auth            `vici:"local"`
	Remote      *Auth            `vici:"remote"`
	Children    map[string]Child `vici:"children"`
}

// Auth is one end's authentication: pre-shared key, and an identity where it is not the address.
type Auth struct {
	Auth string `vici:"auth"` // "psk"
	ID   string `vici:"id"`
}

// Child is one child of a Conn.
type Child struct {
	LocalTS      []string `vici:"local_ts"`
	RemoteTS     []string `vici:"remote_ts"`
	ESPProposals []string `vici:"esp_proposals"`
	Mode         string   `vici:"mode"`
	StartAction  string   `vici:"start_action"` // "none", "start", "trap"
	CloseAction  string   `vici:"close_action"`
	DPDAction    string   `vici:"dpd_action"`
	RekeyTime    string   `vici:"rekey_time"`
	LifeTime     string   `vici:"life_time"`
	SHA256_96    string   `vici:"sha256_96"`
	CopyDF       string   `vici:"copy_df"`
}

// IKESA is an IKE SA as vici's list-sas shows it.
type IKESA struct {
	Name        string             `vici:"-"`
	UniqueID    string             `vici:"uniqueid"`
	Version     string             `vici:"version"`
	State       string             `vici:"state"` // "ESTABLISHED"
	LocalHost   string             `vici:"local-host"`
	LocalPort   string             `vici:"local-port"`
	LocalID     string             `vici:"local-id"`
	RemoteHost  string             `vici:"remote-host"`
	RemotePort  string             `vici:"remote-port"`
	RemoteID    string             `vici:"remote-id"`
	InitiatorSP string             `vici:"initiator-spi"`
	ResponderSP string             `vici:"responder-spi"`
	NATLocal    string             `vici:"nat-local"`
	NATRemote   string             `vici:"nat-remote"`
	NATAny      string             `vici:"nat-any"`
	Encr        string             `vici:"encr-alg"`
	EncrBits    string             `vici:"encr-keysize"`
	Integ       string             `vici:"integ-alg"`
	PRF         string             `vici:"prf-alg"`
	DH          string             `vici:"dh-group"`
	Children    map[string]ChildSA `vici:"child-sas"`
}

// ChildSA is a Child SA as vici's list-sas shows it.
type ChildSA struct {
	Name       string   `vici:"name"`
	UniqueID   string   `vici:"uniqueid"`
	State      string   `vici:"state"` // "INSTALLED"
	Encap      string   `vici:"encap"`
	SPIIn      string   `vici:"spi-in"`
	SPIOut     string   `vici:"spi-out"`
	Encr       string   `vici:"encr-alg"`
	EncrBits   string   `vici:"encr-keysize"`
	Integ      string   `vici:"integ-alg"`
	DH         string   `vici:"dh-group"`
	ESN        string   `vici:"esn"`
	BytesIn    string   `vici:"bytes-in"`
	PacketsIn  string   `vici:"packets-in"`
	BytesOut   string   `vici:"bytes-out"`
	PacketsOut string   `vici:"packets-out"`
	LocalTS    []string `vici:"local-ts"`
	RemoteTS   []string `vici:"remote-ts"`
}
