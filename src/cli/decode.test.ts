import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { encode } from '../base/layout.ts'
import { STRUCTURE_SETS } from '../format/registry.ts'
import { COMMANDS } from '../format/smmuv3/commands.ts'
import { STE } from '../format/smmuv3/ste.ts'
import type { Surroundings } from '../format/structure.ts'
import { CliError } from './common.ts'
import { decodeCommand, decodeOne, parseWords, structureNamed } from './decode.ts'
import { layoutText, listText, resultText } from './decode-text.ts'
import { PLAIN } from './paint.ts'

const nothing: Surroundings = { register: () => null, structure: () => null }
const all = STRUCTURE_SETS.flatMap((set) => set.structures.map((structure) => ({ set, structure })))

/** Runs the command as a shell would. */
async function iomm(...args: string[]): Promise<{ out: string; err: string; code: number }> {
  const text = { out: '', err: '' }
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    text.out += chunk
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    text.err += chunk
    return true
  })
  const before = process.exitCode
  process.exitCode = undefined
  try {
    await decodeCommand().exitOverride().parseAsync(args, { from: 'user' })
    return { ...text, code: Number(process.exitCode ?? 0) }
  } catch (error) {
    if (!(error instanceof CliError)) throw error
    return { ...text, err: text.err + error.message, code: error.exitCode }
  } finally {
    process.exitCode = before
    vi.restoreAllMocks()
  }
}

afterEach(() => vi.restoreAllMocks())

describe('words', () => {
  const four = [0x4491500b, 0, 0xd6, 0]
  it.each([
    ['apart', ['0x000000004491500b', '0x00000000000000d6']],
    ['short, without 0x', ['4491500b', 'd6']],
    ['with commas', ['0x4491500b,0xd6']],
    ['with colons', ['000000004491500b:00000000000000d6:']],
    ['joined', ['0x000000004491500b00000000000000d6']],
    ['joined, each with 0x', ['0x4491500b0xd6']],
    ['with underscores and blanks', ['0x0000_0000_4491_500b  0xd6']],
  ])('are read %s', (_, args) => {
    expect([...parseWords(args, 64, COMMANDS.get(0x46)!.layout)]).toEqual(four)
  })
  it('are read as 32-bit words', () => {
    expect([...parseWords(['4491500b 0', 'd6'], 32, COMMANDS.get(0x46)!.layout)]).toEqual(four)
    expect([...parseWords(['4491500b00000000000000d600000000'], 32, COMMANDS.get(0x46)!.layout)]).toEqual(four)
  })
  it.each([
    [['0xg1'], "'0xg1' is not a hex word"],
    [['0x12345678123456781'], 'has 17 digits'],
    [[','], 'no words'],
    [['1', '2', '3'], 'CMD_SYNC has 2 words of 64 bits'],
  ])('are refused: %j', (args, message) => {
    expect(() => parseWords(args, 64, COMMANDS.get(0x46)!.layout)).toThrow(message)
  })
})

describe('decode', () => {
  it('names every field of an STE that Linux wrote, and finds nothing wrong', async () => {
    const { out, code } = await iomm('STE', '0x000000004491500b', '0x00000000000000d6', '0', '0', '0', '0', '0', '0')
    expect(code).toBe(0)
    for (const name of Object.keys(STE.fields)) expect(out).toContain(`  ${name} `)
    expect(out).toContain('Config        0b101       stage 1')
    expect(out).toContain('S1ContextPtr  0x44915000')
    expect(out).not.toContain('illegal')
  })
  it('tells which rule a bad STE breaks, for the SMMU that is given', async () => {
    const good = ['STE', '0x800000004491500b', '2']
    expect((await iomm(...good)).code).toBe(0)
    const { out, code } = await iomm(...good, '--idr1', '0x02730010', '--idr0', '0xd44101b')
    expect([code, out.includes('illegal')]).toEqual([0, false])
    const narrow = await iomm(...good, '--idr1', '0x02730210')
    expect(narrow.code).toBe(1)
    expect(narrow.out).toContain('illegal, C_BAD_STE: STE.S1CDMax is larger')
    expect(narrow.out).toContain('5.2')
  })
  it('says that missing words are taken as 0', async () => {
    expect((await iomm('STE', '1')).err).toContain('1 of 8 words of STE are given')
  })
  it('checks a CD against the STE that is given', async () => {
    const cd = ['CD', '0x0006f204c0003510', '0x44914000', '0', '0']
    expect((await iomm(...cd)).code).toBe(0)
    const { out, code } = await iomm(...cd, '--ste', '0xb:0x08000000')
    expect(code).toBe(1)
    expect(out).toContain('C_BAD_CD: CD.S lets faults stall, but STE.S1STALLD forbids it')
  })
  it('picks the command by its opcode', async () => {
    expect((await iomm('CMD', '0x0000003000005840', '0x34')).out).toMatch(/^CMD_ATC_INV /)
    expect((await iomm('cmd', '--u32', '46,0,0,0')).out).toMatch(/^CMD_SYNC /)
    const { out, code } = await iomm('CMD', '0xff', '0')
    expect([code, out.includes('opcode 0xff is reserved: no such command')]).toEqual([1, true])
  })
  it('picks the event by its number', async () => {
    const { out, code } = await iomm('EVENT', '0x0000003000000010:0x0000020000000000:0x0000007700000000:0')
    expect([code, /^F_TRANSLATION /.test(out), out.includes('0x7700000000')]).toEqual([0, true, true])
    expect((await iomm('EVENT', '0x77', '0', '0', '0')).code).toBe(1)
  })
  it('says so when the words are another command than the one that is named', async () => {
    const { out, code } = await iomm('CMD_SYNC', '0x41', '0')
    expect([code, out.includes('that is CMD_PRI_RESP')]).toEqual([1, true])
  })
  it('reads a register, with or without its prefix', async () => {
    expect((await iomm('SMMU_IDR0', '0x0d44101b')).out).toContain('TTF          0b10  AArch64')
    expect((await iomm('idr0', '0x100000000')).err).toContain('IDR0 has 32 bits')
  })
  it('tells reserved bits that are set', async () => {
    const { out, code } = await iomm('L1CD', '0xff00000000001fff')
    expect([code, out.includes('reserved bits are set: 11:1, 63:56')]).toEqual([1, true])
  })
  it('decodes several in a row', async () => {
    const { out } = await iomm('CMD', '0x0000003000000003', '1', '0x46', '0')
    expect(out.match(/^CMD_\w+/gm)).toEqual(['CMD_CFGI_STE', 'CMD_SYNC'])
  })
  it('gives JSON', async () => {
    const { out } = await iomm('--json', 'STE', '0xf', '0', '0', '0', '0', '0', '0', '0x1')
    const [ste] = JSON.parse(out).structures
    expect(ste).toMatchObject({ architecture: 'smmuv3', structure: 'STE', section: '5.2' })
    expect(ste.words).toHaveLength(8)
    expect(ste.fields).toContainEqual(
      expect.objectContaining({ name: 'Config', msb: 3, lsb: 1, value: 7, means: 'stage 1 and stage 2' }),
    )
    expect(ste.illegal[0].section).toMatch(/^5\.2/)
    expect(JSON.parse((await iomm('--json', '--list')).out)[0].structures.length).toBeGreaterThan(80)
    expect(JSON.parse((await iomm('--json', 'CD')).out)).toMatchObject({ structure: 'CD', bits: 512 })
  })
  it('shows a layout when no words are given, and lists all structures', async () => {
    expect((await iomm('CD')).out).toMatch(/7:6 {2}TG0 .*\n.*0b00 4 KiB/)
    const { out } = await iomm('--list')
    for (const { structure } of all) expect(out).toContain(structure.name)
  })
  it('teaches where a name is wrong', async () => {
    expect(await iomm('STA', '1')).toMatchObject({ code: 2, err: expect.stringContaining("did you mean 'STE'?") })
    expect((await iomm('SMMU_STRTAB_BAS', '1')).err).toContain("did you mean 'STRTAB_BASE'?")
    expect((await iomm('vtd:STE', '1')).err).toContain("no structure 'vtd:STE'")
    expect(await iomm()).toMatchObject({ code: 2, err: expect.stringContaining('which structure?') })
    expect((await iomm('STE', '1', '--idr0', '0x100000000')).err).toContain('--idr0: the register has 32 bits')
  })
  it('finds a structure with its architecture', () => {
    expect(structureNamed('smmuv3:ste').structure.name).toBe('STE')
  })
  it('survives any words of any structure', () => {
    for (const found of all) {
      const size = found.structure.layout.bits / 32
      fc.assert(
        fc.property(fc.uint32Array({ minLength: size, maxLength: size }), (words) => {
          const decoded = decodeOne(found, words, nothing)
          expect(decoded.fields.length).toBeGreaterThan(0)
          expect(resultText(decoded, PLAIN)).toContain(decoded.found.structure.name)
        }),
        { numRuns: 10 },
      )
      expect(layoutText(found, PLAIN)).toContain(found.structure.name)
    }
    expect(listText(STRUCTURE_SETS, PLAIN)).toContain('Arm SMMUv3')
  })
  it('takes each command with only its opcode for that command, without reserved bits', () => {
    for (const { opcode, layout, name } of COMMANDS.values()) {
      const decoded = decodeOne(structureNamed('CMD'), encode(layout, { opcode }), nothing)
      expect(decoded.found.structure.name).toBe(name)
      expect(decoded.reserved).toEqual([])
    }
  })
})
