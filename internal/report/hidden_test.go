package report_test

import (
	"fmt"
	"strings"
	"testing"

	"cookiesession/internal/report"
	"cookiesession/sessions"
)

// CBOR is read without regard to the case of names, and so it is hidden.
func TestHiddenInAnyCase(t *testing.T) {
	type other struct {
		Token string `cbor:"tOKEN"`
	}
	ring := keys(t, keyA)
	value := seal(t, manager[other](t, ring, true), other{Token: secret})
	for _, r := range []report.Report{
		report.Of(report.Site{Keys: ring}, open(manager[tokens](t, ring, true), value)),
		report.Peek[tokens]("session", value),
	} {
		if text := r.Text("inspect") + r.Notation; strings.Contains(text, secret) ||
			!strings.Contains(r.Notation, `{"tOKEN": "hidden, 19 bytes"}`) {
			t.Errorf("got %s", text)
		}
	}
}

// secret is what must not be shown.
const secret = "very secret indeed"

type tokens struct {
	Name  string
	Token string `cookiesession:"hidden"`
}

type Embedded struct {
	Mail string `cookiesession:"hidden"`
}

// Named is embedded under a name, so its fields are not the outer one's.
type Named struct {
	Pin string `cookiesession:"hidden"`
}

type inner struct{ Phone, Fax string }

type tree struct {
	Leaf     string `cookiesession:"hidden"`
	Children []tree
}

// A tag hides a field's value, wherever the field is. Its name and size are shown, and
// other fields as they are.
func TestHiddenFields(t *testing.T) {
	type session struct {
		Name     string
		Token    string `cookiesession:"hidden" cbor:"t,omitempty"`
		Number   []byte `cookiesession:"hidden" cbor:"7,keyasint"`
		Accounts map[string]*tokens
		inner    `cookiesession:"hidden"`
		Embedded
		Named `cbor:"in"`
		Tree  tree
		Plain inner
	}
	data := session{
		Name: "Zoe", Token: secret, Number: []byte(secret), Plain: inner{Phone: "112"},
		Accounts: map[string]*tokens{"a": {Name: "Zoe", Token: secret}},
		inner:    inner{Phone: secret, Fax: secret}, Embedded: Embedded{Mail: secret},
		Named: Named{Pin: secret},
		Tree:  tree{Children: []tree{{Leaf: secret}}},
	}
	ring := keys(t, keyA)
	m := manager[session](t, ring, true)
	value := seal(t, m, data)
	for name, r := range map[string]report.Report{
		"with a key":    report.Of(report.Site{Keys: ring}, open(m, value)),
		"without a key": report.Peek[session]("session", value),
	} {
		text := r.Text("session") + r.Text("inspect") + r.Notation
		var got []string
		for _, f := range r.Fields {
			got = append(got, f.Name+"="+f.Value)
		}
		const want = `[7=hidden, 19 bytes Accounts=hidden, 38 bytes Fax=hidden, 19 bytes ` +
			`Mail=hidden, 19 bytes Name=Zoe Phone=hidden, 19 bytes ` +
			`Plain={"Fax": "", "Phone": "112"} Tree=hidden, 52 bytes in=hidden, 24 bytes ` +
			`t=hidden, 19 bytes]`
		if fmt.Sprint(got) != want || strings.Contains(text, secret) ||
			strings.Contains(text, fmt.Sprintf("%x", secret)) ||
			!strings.Contains(r.Notation, `"Name": "Zoe"`) {
			t.Errorf("%s: got %s and %s, want %s", name, got, text, want)
		}
	}
	// Of a payload that anybody can read, no more is shown than when the session began.
	payload := report.Parts[session](value, sessions.Valid)[2]
	if got := len(payload.Text); got != 9 || got+payload.More != payload.Chars {
		t.Errorf("got %+v", payload)
	}
	if !report.Hides[session]() || report.Hides[visitor]() {
		t.Error("got it wrong who hides something")
	}
}
