package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/config/drift"
	"vpngw/control"
)

func newDiff(s *settings) *cobra.Command {
	var file, cloud string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff NAME --cloud FILE",
		Short: "Compare a cloud's answer with what runs",
		Long: `Diff compares what the cloud says of a connection with what runs here, and prints each
parameter that differs: in the cloud's words, with the value there, the value here, and
who can change what. FILE is an answer of the cloud's API, or - for standard input:

  Alibaba Cloud  DescribeVpnConnection, DescribeVpnConnections
  Huawei Cloud   ShowVpnConnection, ListVpnConnections
  Tencent Cloud  DescribeVpnConnections

Of an answer with several connections it takes the one with the same id, between the same
gateways, or of the same name. What an answer leaves out has the cloud's default; the order
of lists and the state of the connection do not count; a parameter that changes nothing,
such as IkeMode with ikev2, is not compared. What cannot be compared is named: a key, where
the answer masks it.

It asks the daemon for what runs. With -c it compares with a file instead, keys included.`,
		Example: `  aliyun vpc DescribeVpnConnection --VpnConnectionId vco-1 | vpngw diff hq --cloud -
  vpngw diff hq --cloud answer.json -c /etc/vpngw/vpngw.yaml --json | jq -r '.drifts[].parameter'`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cloud == "" {
				return &usageError{errors.New("what does the cloud say? name the file with its answer with --cloud FILE")}
			}
			here, err := viewOf(cmd, s, file, args[0])
			if err != nil {
				return err
			}
			data, err := readAnswer(cloud)
			if err != nil {
				return err
			}
			there, notes, err := drift.Answer(here, cloud, data)
			if err != nil {
				return err
			}
			r := drift.Compare(here, there, notes)
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = printDiff(cmd.OutOrStdout(), r)
			}
			if err == nil && len(r.Drifts) > 0 {
				err = errSaid
			}
			return err
		},
	}
	cmd.Flags().StringVar(&cloud, "cloud", "", "the `file` with the cloud's answer, or - for standard input")
	cmd.Flags().StringVarP(&file, "config", "c", "", "compare with this configuration `file` instead of with what the daemon runs")
	cmd.Flags().BoolVar(&asJSON, "json", false, `print {"connection":…,"drifts":[…],"not_compared":[…],"notes":[…]}`)
	return cmd
}

// viewOf is the connection called name, in a file or as the daemon runs it.
func viewOf(cmd *cobra.Command, s *settings, file, name string) (drift.View, error) {
	if file == "" {
		e, err := control.NewClient(s.control).Explain(cmd.Context(), name)
		if err == nil && len(e.Connections) != 1 {
			err = fmt.Errorf("the daemon says nothing of %q", name)
		}
		if errors.Is(err, control.ErrUnreachable) {
			err = fmt.Errorf("%w\n-c FILE compares with a file instead", err)
		}
		if err != nil {
			return drift.View{}, err
		}
		return e.Connections[0], nil
	}
	r, err := trace(cmd, file)
	if err != nil {
		return drift.View{}, err
	}
	v, ok := drift.Of(r, name)
	if !ok {
		return drift.View{}, unknownName(r, name)
	}
	return v, nil
}

const maxCloudAnswer = 16 << 20

func readAnswer(name string) ([]byte, error) {
	if name == "-" {
		return readAtMost(os.Stdin, "standard input", maxCloudAnswer)
	}
	return readFile(name, maxCloudAnswer)
}

// printDiff prints what differs, and what was not compared.
func printDiff(w io.Writer, r drift.Result) error {
	for _, d := range r.Drifts {
		tunnel, where := "", ""
		if d.Tunnel != "" {
			tunnel = " (" + show.Plain(d.Tunnel) + ")"
		}
		if d.Where != "" {
			where = "  [" + show.Plain(d.Where) + "]"
		}
		fmt.Fprintf(w, "%s%s\n  in the cloud  %s\n  here          %s%s\n", show.Plain(d.Parameter), tunnel, show.Plain(d.There), show.Plain(d.Here), where)
	}
	for _, n := range r.NotCompared {
		fmt.Fprintf(w, "not compared: %s\n", show.Plain(n))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", show.Plain(n))
	}
	if len(r.Drifts) == 0 {
		_, err := fmt.Fprintf(w, "%s: the cloud and this end say the same\n", show.Plain(r.Connection))
		return err
	}
	_, err := fmt.Fprintf(w, "%s: %s; where the cloud is right, change it here and reload; where this end is right, set it there with %s\n",
		show.Plain(r.Connection), show.Count(len(r.Drifts), "difference"), r.Operation)
	return err
}
