package main

import (
	"github.com/spf13/cobra"

	"vpngw/config/schema"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of the configuration file",
		Long: `Schema prints a JSON Schema (draft 2020-12) of the configuration file, the clouds'
bodies included. Editors check and complete a file with it; "vpngw check" checks more.`,
		Example: `  vpngw schema > vpngw.schema.json
  # then, as the first line of vpngw.yaml, for editors with the YAML language server:
  # yaml-language-server: $schema=vpngw.schema.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printJSON(cmd.OutOrStdout(), schema.File())
		},
	}
}
