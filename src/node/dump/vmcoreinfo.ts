/**
 * VMCOREINFO: what a kernel tells about itself for those who read its dumps. Lines `KEY=value`; Linux,
 * Documentation/admin-guide/kdump/vmcoreinfo.rst. Numbers of SYMBOL are hexadecimal, of NUMBER, SIZE, OFFSET and LENGTH decimal.
 */

export interface VmcoreInfo {
  /** As the kernel wrote it. */
  readonly text: string
  readonly values: ReadonlyMap<string, string>
  /** `6.12.48`. */
  readonly release: string | null
  readonly pageSize: number | null
  /** Virtual address of a symbol. */
  symbol(name: string): bigint | null
  /** `NUMBER(phys_base)` and the like; hexadecimal with 0x, else decimal, may be negative. */
  number(name: string): bigint | null
  /** `SIZE(page)`. */
  size(name: string): number | null
  /** `OFFSET(page.flags)`. */
  offset(name: string): number | null
}

/** Longer is no VMCOREINFO; Linux uses one page. */
export const VMCOREINFO_LIMIT = 1 << 20

export function parseVmcoreInfo(bytes: Uint8Array): VmcoreInfo {
  const end = bytes.indexOf(0)
  const text = new TextDecoder('latin1').decode(end < 0 ? bytes : bytes.subarray(0, end))
  const values = new Map<string, string>()
  for (const line of text.split('\n')) {
    const equals = line.indexOf('=')
    if (equals > 0) values.set(line.slice(0, equals), line.slice(equals + 1))
  }
  const integer = (key: string): bigint | null => {
    const match = /^(-?)(0x[0-9a-f]{1,16}|[0-9]{1,20})$/i.exec(values.get(key) ?? '')
    return match === null ? null : match[1] === '' ? BigInt(match[2]!) : -BigInt(match[2]!)
  }
  const small = (key: string): number | null => {
    const value = integer(key)
    return value === null || value < 0n || value > 0xffff_ffffn ? null : Number(value)
  }
  return {
    text,
    values,
    release: values.get('OSRELEASE') ?? null,
    pageSize: small('PAGESIZE'),
    symbol(name) {
      const value = values.get(`SYMBOL(${name})`) ?? ''
      return /^(0x)?[0-9a-f]{1,16}$/i.test(value) ? BigInt(`0x${value.replace(/^0x/i, '')}`) : null
    },
    number: (name) => integer(`NUMBER(${name})`),
    size: (name) => small(`SIZE(${name})`),
    offset: (name) => small(`OFFSET(${name})`),
  }
}
