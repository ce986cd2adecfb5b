/** What files begin with: dumps that are read here, ways of packing, and what people take for a dump and give a dump's reader. */
import { FLATTENED_MAGIC } from './flattened.ts'
import { KDUMP_MAGIC } from './kdump-header.ts'

/** `dump`: is opened here. `packed`: is unpacked first. `foreign`: is known, and cannot be read. */
export type Kind = 'elf' | 'kdump' | 'flattened' | 'lime' | 'gzip' | 'zstd' | 'foreign'

export interface Magic {
  readonly kind: Kind
  /** Bytes as text (Latin-1), and where they stand. */
  readonly magic: string
  readonly at?: number
  /** What such a file is. */
  readonly what: string
  /** What to do about it, for foreign ones. */
  readonly next?: string
}

const unpack = (command: string) => `unpack it with '${command}' and give the result`

/** The first that fits says what the file is. */
export const MAGICS: readonly Magic[] = [
  { kind: 'elf', magic: '\x7fELF', what: 'ELF core' },
  { kind: 'kdump', magic: KDUMP_MAGIC, what: 'kdump-compressed' },
  { kind: 'flattened', magic: FLATTENED_MAGIC, what: 'kdump-compressed, flattened' },
  { kind: 'lime', magic: 'EMiL', what: 'LiME' },
  { kind: 'gzip', magic: '\x1f\x8b', what: 'gzip' },
  { kind: 'zstd', magic: '\x28\xb5\x2f\xfd', what: 'zstd' },
  // The magic numbers of skippable frames, which some writers put first: 0x184d2a50 to 0x184d2a5f.
  ...Array.from(
    { length: 16 },
    (_, index): Magic => ({ kind: 'zstd', magic: `${String.fromCharCode(0x50 + index)}\x2a\x4d\x18`, what: 'zstd' }),
  ),
  { kind: 'foreign', magic: '\xfd7zXZ\0', what: 'packed with xz', next: unpack('xz -d') },
  { kind: 'foreign', magic: 'BZh', what: 'packed with bzip2', next: unpack('bunzip2') },
  { kind: 'foreign', magic: '\x04\x22\x4d\x18', what: 'packed with lz4', next: unpack('lz4 -d') },
  { kind: 'foreign', magic: '\x89LZO\0', what: 'packed with lzop', next: unpack('lzop -d') },
  { kind: 'foreign', magic: 'PK\x03\x04', what: 'a zip archive', next: unpack('unzip') },
  { kind: 'foreign', magic: '7z\xbc\xaf\x27\x1c', what: 'a 7z archive', next: unpack('7z x') },
  { kind: 'foreign', magic: 'ustar', at: 257, what: 'a tar archive', next: unpack('tar x') },
  {
    kind: 'foreign',
    magic: 'DISKDUMP',
    what: 'a dump of the old diskdump',
    next: 'only dumps of kdump (makedumpfile, QEMU) are read',
  },
  {
    kind: 'foreign',
    magic: 'AVML',
    what: 'an AVML image',
    next: "convert it with 'avml-convert --source-format avml2 --format lime'",
  },
  {
    kind: 'foreign',
    magic: 'QEVM',
    what: 'a migration stream of QEMU (savevm)',
    next: "let the monitor write a dump: 'dump-guest-memory FILE'",
  },
  {
    kind: 'foreign',
    magic: 'LibvirtQemudSave',
    what: 'a saved domain of libvirt',
    next: "let libvirt write a dump: 'virsh dump --memory-only'",
  },
  {
    kind: 'foreign',
    magic: 'LibvirtQemudPart',
    what: 'a saved domain of libvirt that is not complete',
    next: "let libvirt write a dump: 'virsh dump --memory-only'",
  },
  { kind: 'foreign', magic: 'QFI\xfb', what: 'a qcow2 disk image', next: 'memory is needed, not a disk' },
  { kind: 'foreign', magic: 'KDMV', what: 'a VMDK disk image', next: 'memory is needed, not a disk' },
  {
    kind: 'foreign',
    magic: '\xd2\xbe\xd2\xbe',
    what: "a VMware snapshot's state (.vmss, .vmsn)",
    next: 'give the .vmem file beside it, as a raw image',
  },
  {
    kind: 'foreign',
    magic: '\xd1\xba\xd1\xba',
    what: "a VMware snapshot's state (.vmss, .vmsn)",
    next: 'give the .vmem file beside it, as a raw image',
  },
  {
    kind: 'foreign',
    magic: '\xd0\xbe\xd2\xbe',
    what: "a VMware snapshot's state (.vmss, .vmsn)",
    next: 'give the .vmem file beside it, as a raw image',
  },
  { kind: 'foreign', magic: 'PAGEDU64', what: 'a Windows crash dump', next: 'dumps of Linux and QEMU are read' },
  { kind: 'foreign', magic: 'PAGEDUMP', what: 'a Windows crash dump', next: 'dumps of Linux and QEMU are read' },
  { kind: 'foreign', magic: 'MDMP', what: 'a minidump of a Windows process', next: 'the memory of a whole machine is needed' },
  { kind: 'foreign', magic: 'MZ', what: 'a program or an EFI kernel image', next: 'memory is needed: a dump of the machine' },
  { kind: 'foreign', magic: 'PERFILE2', what: 'a recording of perf', next: 'memory is needed: a dump of the machine' },
]

/** Bytes from the start of a file that tell what it is. */
export const HEAD_BYTES = 512

/** What a file is by its first bytes; null when they are none that are known. */
export function recognise(head: Uint8Array): Magic | null {
  return MAGICS.find(({ magic, at = 0 }) => startsWith(head, magic, at)) ?? null
}

function startsWith(head: Uint8Array, magic: string, at: number): boolean {
  if (head.length < at + magic.length) return false
  for (let index = 0; index < magic.length; index++) if (head[at + index] !== magic.charCodeAt(index)) return false
  return true
}

/** Whether the bytes are text: valid UTF-8 without control characters, though it may end within a character. */
export function isText(head: Uint8Array): boolean {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(head, { stream: true })
    return text.length > 0 && !/[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]/.test(text)
  } catch {
    return false
  }
}

/** What was seen at the start of a file that is no dump, and what to do. */
export function foreignText(head: Uint8Array): string {
  const known = recognise(head)
  if (known?.kind === 'gzip' || known?.kind === 'zstd')
    return `is packed twice: inside is ${known.what} again; unpack it once and give the result`
  if (known !== null) return `is ${known.what}, which is not read here${known.next === undefined ? '' : `: ${known.next}`}`
  const raw = "if it is a raw image of memory, say from which address: '--base 0x40000000', or 'raw:0x40000000:FILE'"
  if (head.length === 0) return 'is empty'
  if (head.every((byte) => byte === 0)) return `begins with ${head.length} zero bytes, as no dump does; ${raw}`
  if (isText(head)) return 'is text, no dump of memory'
  const first = [...head.subarray(0, 16)]
  const bytes = first.map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
  const letters = first.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('')
  return `is no dump that is known (ELF core, kdump-compressed, LiME): it begins with ${bytes} '${letters}'; ${raw}`
}
