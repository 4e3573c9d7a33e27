package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"vpngw/ipsec"
)

// Notify tells of an error, or of a capability or condition (RFC 7296 section 3.10).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Protocol ID  |   SPI Size    |      Notify Message Type      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                Security Parameter Index (SPI)                 ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                       Notification Data                       ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Notify struct {
	Protocol ipsec.Protocol // 0 without an SPI, and to be ignored then
	SPI      []byte         // of the SA that the notification concerns; nil: none
	Kind     NotifyType
	Data     []byte
}

func (*Notify) Type() PayloadType { return TypeNotify }

func (p *Notify) append(b []byte) []byte {
	b = append(b, byte(p.Protocol), byte(len(p.SPI)))
	b = binary.BigEndian.AppendUint16(b, uint16(p.Kind))
	return append(append(b, p.SPI...), p.Data...)
}

func (p *Notify) parse(s cryptobyte.String) bool {
	var size uint8
	ok := s.ReadUint8((*uint8)(&p.Protocol)) && s.ReadUint8(&size) &&
		s.ReadUint16((*uint16)(&p.Kind)) && readSPI(&s, &p.SPI, int(size))
	p.Data = bytes.Clone(s)
	return ok
}

// NotifyType is a notify message type.
type NotifyType uint16

// Error types (RFC 7296 section 3.10.1).
const (
	UnsupportedCriticalPayload NotifyType = 1
	InvalidIKESPI              NotifyType = 4
	InvalidMajorVersion        NotifyType = 5
	InvalidSyntax              NotifyType = 7
	InvalidMessageID           NotifyType = 9
	InvalidSPI                 NotifyType = 11
	NoProposalChosen           NotifyType = 14
	InvalidKEPayload           NotifyType = 17
	AuthenticationFailed       NotifyType = 24
	SinglePairRequired         NotifyType = 34
	NoAdditionalSAs            NotifyType = 35
	InternalAddressFailure     NotifyType = 36
	FailedCPRequired           NotifyType = 37
	TSUnacceptable             NotifyType = 38
	InvalidSelectors           NotifyType = 39
	TemporaryFailure           NotifyType = 43
	ChildSANotFound            NotifyType = 44
)

// Status types (RFC 7296 section 3.10.1, RFC 7383 section 2.3).
const (
	InitialContact            NotifyType = 16384
	SetWindowSize             NotifyType = 16385
	AdditionalTSPossible      NotifyType = 16386
	IPCompSupported           NotifyType = 16387
	NATDetectionSourceIP      NotifyType = 16388
	NATDetectionDestinationIP NotifyType = 16389
	Cookie                    NotifyType = 16390
	UseTransportMode          NotifyType = 16391
	HTTPCertLookupSupported   NotifyType = 16392
	RekeySA                   NotifyType = 16393
	ESPTFCPaddingNotSupported NotifyType = 16394
	NonFirstFragmentsAlso     NotifyType = 16395
	FragmentationSupported    NotifyType = 16430 // IKEV2_FRAGMENTATION_SUPPORTED
)

// notifyNames are the names of the RFCs. They include types that vpngw ignores, so
// that a log can name whatever a peer sent.
var notifyNames = map[NotifyType]string{
	UnsupportedCriticalPayload: "UNSUPPORTED_CRITICAL_PAYLOAD",
	InvalidIKESPI:              "INVALID_IKE_SPI",
	InvalidMajorVersion:        "INVALID_MAJOR_VERSION",
	InvalidSyntax:              "INVALID_SYNTAX",
	InvalidMessageID:           "INVALID_MESSAGE_ID",
	InvalidSPI:                 "INVALID_SPI",
	NoProposalChosen:           "NO_PROPOSAL_CHOSEN",
	InvalidKEPayload:           "INVALID_KE_PAYLOAD",
	AuthenticationFailed:       "AUTHENTICATION_FAILED",
	SinglePairRequired:         "SINGLE_PAIR_REQUIRED",
	NoAdditionalSAs:            "NO_ADDITIONAL_SAS",
	InternalAddressFailure:     "INTERNAL_ADDRESS_FAILURE",
	FailedCPRequired:           "FAILED_CP_REQUIRED",
	TSUnacceptable:             "TS_UNACCEPTABLE",
	InvalidSelectors:           "INVALID_SELECTORS",
	40:                         "UNACCEPTABLE_ADDRESSES",  // RFC 4555
	41:                         "UNEXPECTED_NAT_DETECTED", // RFC 4555
	TemporaryFailure:           "TEMPORARY_FAILURE",
	ChildSANotFound:            "CHILD_SA_NOT_FOUND",

	InitialContact:            "INITIAL_CONTACT",
	SetWindowSize:             "SET_WINDOW_SIZE",
	AdditionalTSPossible:      "ADDITIONAL_TS_POSSIBLE",
	IPCompSupported:           "IPCOMP_SUPPORTED",
	NATDetectionSourceIP:      "NAT_DETECTION_SOURCE_IP",
	NATDetectionDestinationIP: "NAT_DETECTION_DESTINATION_IP",
	Cookie:                    "COOKIE",
	UseTransportMode:          "USE_TRANSPORT_MODE",
	HTTPCertLookupSupported:   "HTTP_CERT_LOOKUP_SUPPORTED",
	RekeySA:                   "REKEY_SA",
	ESPTFCPaddingNotSupported: "ESP_TFC_PADDING_NOT_SUPPORTED",
	NonFirstFragmentsAlso:     "NON_FIRST_FRAGMENTS_ALSO",
	16396:                     "MOBIKE_SUPPORTED",                // RFC 4555
	16397:                     "ADDITIONAL_IP4_ADDRESS",          // RFC 4555
	16398:                     "ADDITIONAL_IP6_ADDRESS",          // RFC 4555
	16399:                     "NO_ADDITIONAL_ADDRESSES",         // RFC 4555
	16400:                     "UPDATE_SA_ADDRESSES",             // RFC 4555
	16404:                     "MULTIPLE_AUTH_SUPPORTED",         // RFC 4739
	16405:                     "ANOTHER_AUTH_FOLLOWS",            // RFC 4739
	16420:                     "IKEV2_MESSAGE_ID_SYNC_SUPPORTED", // RFC 6311
	FragmentationSupported:    "IKEV2_FRAGMENTATION_SUPPORTED",
	16431:                     "SIGNATURE_HASH_ALGORITHMS", // RFC 7427
	16435:                     "USE_PPK",                   // RFC 8784
}

// String is the RFC's name: "NO_PROPOSAL_CHOSEN".
func (k NotifyType) String() string {
	if s, ok := notifyNames[k]; ok {
		return s
	}
	return fmt.Sprintf("notify %d", uint16(k))
}

// IsError reports whether k is an error type. An error type in a response, known or
// not, means that the request failed; a status type that is not known is ignored.
func (k NotifyType) IsError() bool { return k < 16384 }
