package config

// Group is whatever shares routes: one connection with its one or two tunnels, or the two
// connections of a pair.
type Group struct {
	Name        string        // a connection's name, or that of a pair as PairGroup makes it
	Connections []*Connection // in the order of the file
}

// PairGroup is the name of the group that the pair called name is. No connection can have
// this name, because CheckName allows no colon.
func PairGroup(name string) string { return "pair:" + name }

// Group is the name of the connection's group.
func (c *Connection) Group() string {
	if c.Pair != "" {
		return PairGroup(c.Pair)
	}
	return c.Name
}

// Groups are the groups of a configuration's connections, in the order of the file. A pair
// stands where its first connection does.
func Groups(c *Config) []Group {
	var out []Group
	at := map[string]int{} // by the group's name
	for _, conn := range c.Connections {
		name := conn.Group()
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name] = i
			out = append(out, Group{Name: name})
		}
		out[i].Connections = append(out[i].Connections, conn)
	}
	return out
}
