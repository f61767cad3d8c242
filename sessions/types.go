package sessions

import (
	"cmp"
	"encoding"
	"fmt"
	"math/big"
	"reflect"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// checkType returns an error if what is of type t, at a place within a session, could
// not be read back as it was. It has seen the types that contain t.
func checkType(t reflect.Type, place string, seen map[reflect.Type]bool) error {
	if seen[t] {
		return nil
	}
	seen[t] = true
	if writes, reads := marshalsItself(t); writes {
		return checkMarshaler(t, place, reads)
	}
	switch t.Kind() {
	case reflect.Interface:
		return fmt.Errorf("%s is an interface: what is in it comes back as another type", place)
	case reflect.Chan, reflect.Func, reflect.Uintptr, reflect.UnsafePointer,
		reflect.Complex64, reflect.Complex128:
		return fmt.Errorf("%s is a %v, which a cookie can't carry", place, t.Kind())
	case reflect.Map:
		return cmp.Or(checkType(t.Key(), place+"'s keys", seen), checkType(t.Elem(), place, seen))
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return checkType(t.Elem(), place, seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if err := checkField(t.Field(i), place, seen); err != nil {
				return err
			}
		}
		if name := sharedName(t, make(map[any]bool)); name != "" {
			return fmt.Errorf("%s has two fields called %s: one of them would be lost", place, name)
		}
	}
	return nil
}

// checkMarshaler is checkType for a type that says itself how it is written and read.
func checkMarshaler(t reflect.Type, place string, readsBack bool) error {
	switch {
	case !readsBack:
		return fmt.Errorf("%s is a %v, which can't be both written and read back", place, t)
	case t == reflect.TypeFor[big.Int]():
		return fmt.Errorf("%s is a big.Int, which a cookie can't carry: keep it as text", place)
	case t.Kind() != reflect.Struct:
		return nil
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && t.NumField() > 1 {
			if writes, _ := marshalsItself(f.Type); writes { // for all of t
				return fmt.Errorf("%s.%s is embedded and would stand for the whole struct: "+
					"give the field a name", place, f.Name)
			}
		}
	}
	return nil
}

// sharedName returns a name that two fields of a struct have in a cookie, if there is one.
// Fields of embedded structs count. It has seen names and embedded types.
func sharedName(t reflect.Type, seen map[any]bool) string {
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(tagOf(f), ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		writes, _ := marshalsItself(inner)
		switch {
		case tagOf(f) == "-" || f.Name == "_":
			continue
		case f.Anonymous && name == "" && inner.Kind() == reflect.Struct && !writes:
			if !seen[inner] {
				name = sharedName(inner, seen)
			}
			if name != "" {
				return name
			}
			continue
		}
		if name = cmp.Or(name, f.Name); seen[name] {
			return name
		}
		seen[name] = true
	}
	return ""
}

// tagOf returns the tag that the CBOR library goes by.
func tagOf(f reflect.StructField) string { return cmp.Or(f.Tag.Get("cbor"), f.Tag.Get("json")) }

// checkField is checkType for a field of the struct that stands at a place.
func checkField(f reflect.StructField, place string, seen map[reflect.Type]bool) error {
	place += "." + f.Name
	switch {
	case tagOf(f) == "-" || f.Name == "_": // it is left out
		return nil
	case !f.IsExported() && !(f.Anonymous && f.Type.Kind() == reflect.Struct):
		// The exported fields of an embedded struct count as the outer one's.
		return fmt.Errorf("%s is not exported, so it would be lost: "+
			"begin it with a capital letter, or tag it `cbor:\"-\"`", place)
	}
	return checkType(f.Type, place, seen)
}

// marshalsItself reports whether a value of type t writes itself, and whether it reads
// itself.
func marshalsItself(t reflect.Type) (writes, reads bool) {
	v := reflect.New(t).Interface() // a pointer has all methods
	switch v.(type) {
	case cbor.Marshaler:
		_, reads = v.(cbor.Unmarshaler)
	case encoding.BinaryMarshaler:
		_, reads = v.(encoding.BinaryUnmarshaler)
	case encoding.TextMarshaler:
		_, reads = v.(encoding.TextUnmarshaler)
	default:
		return false, false
	}
	return true, reads
}
