import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { CliError, EXIT_INPUT, EXIT_UNSUPPORTED, EXIT_USAGE } from './common.ts'
import { openInput, parseDevice } from './input.ts'

const fixture = join(import.meta.dirname, '../../test/fixtures/arm64-smmuv3-s1')
const folder = mkdtempSync(join(tmpdir(), 'iomm-input-'))
afterAll(() => rmSync(folder, { recursive: true }))

async function errorOf(path: string): Promise<CliError> {
  try {
    await openInput(path)
  } catch (error) {
    if (error instanceof CliError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('INPUT', () => {
  it('opens a capture: tables, hardware in its state, names', async () => {
    const machine = await openInput(fixture)
    expect(machine.title).toBe('arm64-smmuv3-s1')
    expect(machine.devices.get(0x30)?.name).toBe('0000:00:06.0')
    expect(machine.model.explain({ device: 0x30, iova: 0xfffff000n, access: 'read' }).outcome).toMatchObject({ ok: true })
    expect(machine.graph().devices.length).toBe(9)
  })

  it('says what is wrong with anything else, with the exit code for it', async () => {
    expect(await errorOf(join(folder, 'nowhere'))).toMatchObject({
      exitCode: EXIT_INPUT,
      message: expect.stringContaining('no such file'),
    })
    expect(await errorOf(folder)).toMatchObject({ exitCode: EXIT_INPUT, message: expect.stringContaining('is no capture') })
    writeFileSync(join(folder, 'notes.txt'), '')
    expect(await errorOf(join(folder, 'notes.txt'))).toMatchObject({
      exitCode: EXIT_INPUT,
      message: expect.stringContaining('is empty'),
    })
    writeFileSync(join(folder, 'side.json'), '{"iommu": "ummv9", "registers": []}')
    writeFileSync(join(folder, 'tables.elf'), 'x')
    expect(await errorOf(folder)).toMatchObject({
      exitCode: EXIT_INPUT,
      message: expect.stringContaining('tables.elf at offset 0x0'),
    })
  })

  it('says that an IOMMU is not supported', async () => {
    const other = mkdtempSync(join(folder, 'other-'))
    writeFileSync(join(other, 'side.json'), '{"iommu": "ummv9", "registers": []}')
    const elf = new Uint8Array(64)
    elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
    elf[16] = 4
    writeFileSync(join(other, 'tables.elf'), elf)
    expect(await errorOf(other)).toMatchObject({
      exitCode: EXIT_UNSUPPORTED,
      message: expect.stringContaining("the IOMMU is 'ummv9'"),
    })
  })
})

describe('DEVICE arguments', () => {
  const devices = new Map([
    [0x30, { name: '0000:00:06.0' }],
    [2, { name: 'gpu' }],
    [7, { name: '0' }],
  ])

  it.each([
    ['0000:00:06.0', { id: 0x30, name: '0000:00:06.0', pasid: null }],
    ['00:06.0', { id: 0x30, name: '0000:00:06.0', pasid: null }],
    ['0:6.0', { id: 0x30, name: '0000:00:06.0', pasid: null }],
    ['0000:00:06.0:5', { id: 0x30, name: '0000:00:06.0', pasid: 5 }],
    ['00:06.0:0x4321', { id: 0x30, name: '0000:00:06.0', pasid: 0x4321 }],
    ['0x30', { id: 0x30, name: '0000:00:06.0', pasid: null }],
    ['48:0', { id: 0x30, name: '0000:00:06.0', pasid: 0 }],
    ['gpu', { id: 2, name: 'gpu', pasid: null }],
    ['gpu:1', { id: 2, name: 'gpu', pasid: 1 }],
    // A name goes before a number.
    ['0', { id: 7, name: '0', pasid: null }],
    ['0:2', { id: 7, name: '0', pasid: 2 }],
    // A device that has no name here may exist nevertheless.
    ['0x99', { id: 0x99, name: '0x99', pasid: null }],
    ['02:00.1', { id: 0x201, name: '02:00.1', pasid: null }],
  ])('%s', (text, expected) => expect(parseDevice(text, devices)).toEqual(expected))

  it.each([
    ['npu', /'npu' is no device of this machine. It has 0000:00:06.0 \(0x30\), gpu \(0x2\)/],
    ['gpu:x', /'x' is no PASID/],
    ['gpu:0x100000', /'0x100000' is no PASID: a number from 0 to 0xfffff/],
    ['0x100000000', /is no device/],
  ])('%s is refused', (text, message) => {
    expect(() => parseDevice(text, devices)).toThrow(message)
    expect(() => parseDevice(text, devices)).toThrow(expect.objectContaining({ exitCode: EXIT_USAGE }))
  })
})
