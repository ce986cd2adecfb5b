import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { renderPicture } from '../render/index.ts'
import { openInput } from './input.ts'
import { writeSparseImage } from './sparse-image.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'iomm-sparse-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('raw images of tens of GiB', () => {
  const [small, large] = [64 * 2 ** 20, 64 * 2 ** 30].map((bytes) => {
    const image = join(folder, `${bytes}.ram`)
    const registers = `${image}.json`
    return { bytes, image, registers, ...writeSparseImage(image, registers, bytes) }
  })

  it('are drawn like small ones with the same tables', async () => {
    const [one, other] = await Promise.all(
      [small!, large!].map(async ({ image, registers }) => (await openInput(image, { base: 0n, registers })).graph()),
    )
    const shape = ({ devices, pasidTables, spaces }: typeof one) => ({
      devices: devices.map(({ id, state }) => [id, state]),
      tables: pasidTables.map(({ entries }) => entries.map(({ pasid, state }) => [pasid, state])),
      spaces: spaces.map(({ leafCount, mappedBytes, label }) => [leafCount, mappedBytes, label]),
    })
    expect(shape(other!)).toEqual(shape(one!))
    expect(one!.devices.length).toBe(64)
    expect(one!.spaces.length).toBeGreaterThan(128)
    expect(BigInt(other!.deviceTable!.address)).toBeGreaterThan(63n << 30n)
  })

  it('take memory for their tables only', async () => {
    const before = process.resourceUsage().maxRSS
    const opened = await openInput(large!.image, { base: 0n, registers: large!.registers })
    renderPicture(opened.graph())
    expect((process.resourceUsage().maxRSS - before) * 1024).toBeLessThan(300 * 2 ** 20)
    expect(opened.memory.storageBytes).toBeLessThan((large!.pages + 40) * 4096 + 2 ** 20)
    // The holes took no room on the disk either.
    expect(statSync(large!.image).blocks * 512).toBeLessThan(64 * 2 ** 20)
  })
})
