import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { unpackLzo } from './lzo.ts'
import { unpackSnappy } from './snappy.ts'
import { packLzo, packSnappy, packZstd } from './writers.suite.ts'
import { type Unpack, zstdPages, zstdStream } from './zstd.ts'

/** Bytes as pages have them: random, or repeated at some distance. */
const content = fc
  .array(fc.record({ seed: fc.nat(255), length: fc.integer({ min: 1, max: 700 }), back: fc.nat(60_000), kind: fc.nat(2) }), {
    maxLength: 40,
  })
  .map((parts) => {
    const out: number[] = []
    for (const { seed, length, back, kind } of parts) {
      for (let index = 0; index < length; index++)
        out.push(
          kind === 0
            ? (seed * 31 + index * index * 7) & 255
            : kind === 1
              ? seed
              : (out[Math.max(0, out.length - 1 - back)] ?? seed),
        )
    }
    return Uint8Array.from(out)
  })

/** 48 KiB between two equal parts: only the longest distances reach the first. */
const far = Uint8Array.from({ length: 49_000 }, (_, index) =>
  index < 40 || index >= 48_000 ? (index % 40) * 3 : (index * index * 13) >> 3,
)

const zstd = await zstdPages()
const WAYS: [string, (bytes: Uint8Array) => Uint8Array, Unpack][] = [
  ['LZO', packLzo, unpackLzo],
  ['Snappy', packSnappy, unpackSnappy],
  ['zstd', packZstd, zstd],
]

/** What liblzo2 2.10 and libsnappy 1.1.9 and zstd 1.5.4 made of PAGE. */
const PAGE = Uint8Array.from({ length: 4096 }, (_, index) => ((index >> 9) % 2 === 0 ? index & 63 : (index * 7) >> 4) & 255)
const REAL: Record<string, string> = {
  'LZO 1':
    'AC4AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/IACg/AAAAAAD4ODg4eHi4uPj4+Tk5eXm5ufn5+jo6enq6urr6+zs7e3u7u7v7/Dw8fHx8vLz8/T09fX19vb39/j4+Pn5+vr7+/z8/P39/v7///8AAAEBAgIDAwMEBAUFBgYGBwcICAkJCgoKCwsMDA0NDQ4ODw8QEBERERISExMUFBQVFRYWFxcYGBgZGRoaGxsbHBwdHR4eHx8fICAhISIiIiMjJCQlJSYmJicnKCgpKSkqKisrLCwtLS0uLi8vMDAwMTEyMjMzNDQ0NTU2Njc3Nzg4OTk6Ojs7Ozw8PT0+Pj4/P0BAQUFCQkJDQ0RERUVFRkZHR0hISUlJSkpLS0xMTE1NTk5PT1BQUFFRUlJTU1NUVFVVVlZXV1dYWFlZWlpaW1tcXF1dXl5eX19gYGFhYWJiY2NkZGVlZWZmZ2doaGhpaWpqa2tsbGxtbW5ub29vcHBxcXJyc3NzdHR1dXZ2dnd3eHh5eXp6ent7fHx9fX1+fn9/gICBgYGCgoODhISEhYWGhoeHiIiIiYmKiouLi4yMjY2Ojo+Pj5CQkZGSkpKTk5SUlZWWlpaXl5iYmZmZmpqbm5ycnZ2dnp6fn6CgoKGhoqKjo6SkpKWlpqanp6eoqKmpqqqrq6usrK2trq6ur6+wsLGxsrKys7O0tLW1tba2t7e4uLm5ubq6u7u8vLy9vb6+v78AAQIDBAUGBwgJCgsMDQ4PEBESIADN/A8KoKCgoaGioqOjo6SkpSojCaqrqysiCbGyLCIJuLksIAkAOr/AwMHBwsLDw8PExMXFxsbGx8fIyMnJysrKy8vMzM3Nzc7Oz8/Q0NHR0dLS09PU1NTV1dbW19fY2NjZ2dra29vb3Nzd3d7e39/f4OBlkuLlkualkunmku3uhZLw5pL09YWS9+eS+/z8ZpL+/8aSAgOFkgXlkgmmkgwNxZIQppITFMWSF6SSARobGxyEkgMeHx8gICFokqSSByUmJicnKCgoKSmkkgksLS0uLi8vLzAwMTFmkjM0hpI2N8SSDDo7Ozw8PT09Pj4/P0BAQWuSQ0NEaJIJRkZHR0hISElJSkpLaJIJTU1OTk9PT1BQUVFSaJICVFRVVVZokgAFWFhZWVlaWltbXFxdXV1eXl9fYGBgYWGkkgxkZWVmZmdnZ2hoaWlqamtokgJtbW5ubueScnNzZJIFdXZ2d3d4eHlokgN7e3x8fH2EkiAAoPweIB/8BiciCWNkLCEJai0iCXFyLCEJeC0gCQV/gICBgYKCg2zbBIWFhoaGh4eo2wWKi4uMjI2NjWzbAAOQkJGRkZKSk5OUlJSVlZaWl5eYmJio2webnJydnZ6en5+fpZKi5JIGpqenqKipqamqxJIGra6ur6+wsLCxxJIGtLW1tra3t7e4xJIGu7y8vb2+vr6/xZLCpZLF5ZLJpZLM5ZLQppLT1MWS16aS2tvGkt7fhJIjkCQijCQjkSToJJAkIowkI5Ik7+8jkCQijSTzIpIk9vYjkCQijST6IpEk/WiSppIBAoWSBCKQJAIHBwgICCKTJAsLCyKQJAEODg8PI5MkEhISIpAkARUVFhYjkCQBGRkZGsaSHR6FkiDmkiQlhJIjkCRmkisshZIu5pIyM4aSNTbGkjk6hZI8pJIgH/wIIACg/QAgb9siIiOs22jbwkkqKywgCYzbaNvCSTg5LCAJj9tCQkNv20VFRqzbadtKqNuM22nbUajbj9tXV1hs22jbjNtp21+q22JjxZJmqNuP22xsbWzbattwccaSdHWI24/benp7bNtq235/xZKCpZKF5pKJioWSjOWSkKSSJbUtl2iSZpKam8WSnqWSoSKQJCKMJCORJKhokqaSrK2Fkq/mkrO0hZK25pK6u4WSveSSI5EkxCSQJCKMJCORJMskkCQBzs7PzyORJNIkkCQB1dXW1iORJNkkkyTc3N0kkCQn2TbkaJIp2TbraJIp2TbyaJJkkiOQJA/4+Pn5+fr6+/v8/Pz9/f7+//8RAAA=',
  'LZO 999':
    'UQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8gAKD9AOAAAAAA7OHh4uLj4+Pk5OXl5ubn5+fo6Onp6urq6+vs7O3t7u7u7+/w8PHx8fLy8/P09PX19fb29/f4+Pj5+fr6+/v8/Pz9/f7+////AAABAQICAwMDBAQFBQYGBgcHCAgJCQoKCgsLDAwNDQ0ODg8PEBARERESEhMTFBQUFRUWFhcXGBgYGRkaGhsbGxwcHR0eHh8fHyAgISEiIiIjIyQkJSUmJiYnJygoKSkpKiorKywsLS0tLi4vLzAwMDExMjIzMzQ0NDU1NjY3Nzc4ODk5Ojo7Ozs8PD09Pj4+Pz9AQEFBQkJCQ0NEREVFRUZGR0dISElJSUpKS0tMTExNTU5OT09QUFBRUVJSU1NTVFRVVVZWV1dXWFhZWVpaWltbXFxdXV5eXl9fYGBhYWFiYmNjZGRlZWVmZmdnaGhoaWlqamtrbGxsbW1ubm9vb3BwcXFycnNzc3R0dXV2dnZ3d3h4eXl6enp7e3x8fX19fn5/f4CAgYGBgoKDg4SEhIWFhoaHh4iIiImJioqLi4uMjI2Njo6Pj4+QkJGRkpKSk5OUlJWVlpaWl5eYmJmZmZqam5ucnJ2dnZ6en5+goKChoaKio6OkpKSlpaamp6enqKipqaqqq6urrKytra6urq+vsLCxsbKysrOztLS1tbW2tre3uLi5ubm6uru7vLy8vb2+vr+/IADg/A8nIQmjLSEJqi0hCbEtIQm4LSAJADi/wMDBwcLCw8PDxMTFxcbGxsfHyMjJycrKysvLzMzNzc3Ozs/P0NDR0dHS0tPT1NTU1dXW1tfX2NjY2dna2tvb29zc3d3e3t/f36WS4uWS5qWS6eWS7aWS8OWS9KWS9+WS+6WS/uWSAqWSBeWSCaWSDOWSEKWSE+WSF6WSGuWSHqWSIeWSJaWSKOWSLKWSL+WSM6WSNuWSOqWSPeWSQaWSROWSSKWSS+WST6WSUuWSVqWSWeWSXaWSYOWSZKWSZ+WSa6WSbuWScqWSdeWSeaWSfKSSIADg/A8nIQljLSEJai0hCXEtIQl4LSAJjNtp24Oo24zbaduKqNuM22nbkajbjNtp25io24zbadufpZKi5ZKmpZKp5ZKtpZKw5ZK0pZK35ZK7pZK+5ZLCpZLF5ZLJpZLM5ZLQpZLT5ZLXpZLa5ZLepZLh5ZLlpZLo5ZLspZLv5ZLzpZL25ZL6pZL95ZIBpZIE5ZIIpZIL5ZIPpZIS5ZIWpZIZ5ZIdpZIg5ZIkpZIn5ZIrpZIu5ZIypZI15ZI5pZI8pJIgAOD8DychCSMtIQkqLSEJMS0hCTgtIAklty1DQ0Oo2yW3LUpKSqjbJbctUVFRqNslty1YWFio2yW3LV9fX6WSYuWSZqWSaeWSbaWScOWSdKWSd+WSe6WSfuWSgqWSheWSiaWSjOWSkKWSk+WSl6WSmuWSnqWSoeWSpaWSqOWSrKWSr+WSs6WStuWSuqWSveWSwaWSxOWSyKWSy+WSz6WS0uWS1qWS2eWS3aWS4OSSLNk26y3ZNvIt2Tb5Ldg2EQAA',
  'Snappy 1':
    'gCDwQAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8A/kAA/kAA/kAA/kAA/kAA/kAA+kAA9AIC4ODg4eHi4uPj4+Tk5eXm5ufn5+jo6enq6urr6+zs7e3u7u7v7/Dw8fHx8vLz8/T09fX19vb39/j4+Pn5+vr7+/z8/P39/v7///8AAAEBAgIDAwMEBAUFBgYGBwcICAkJCgoKCwsMDA0NDQ4ODw8QEBERERISExMUFBQVFRYWFxcYGBgZGRoaGxsbHBwdHR4eHx8fICAhISIiIiMjJCQlJSYmJicnKCgpKSkqKisrLCwtLS0uLi8vMDAwMTEyMjMzNDQ0NTU2Njc3Nzg4OTk6Ojs7Ozw8PT0+Pj4/P0BAQUFCQkJDQ0RERUVFRkZHR0hISUlJSkpLS0xMTE1NTk5PT1BQUFFRUlJTU1NUVFVVVlZXV1dYWFlZWlpaW1tcXF1dXl5eX19gYGFhYWJiY2NkZGVlZWZmZ2doaGhpaWpqa2tsbGxtbW5ub29vcHBxcXJyc3NzdHR1dXZ2dnd3eHh5eXp6ent7fHx9fX1+fn9/gICBgYGCgoODhISEhYWGhoeHiIiIiYmKiouLi4yMjY2Ojo+Pj5CQkZGSkpKTk5SUlZWWlpaXl5iYmZmZmpqbm5ycnZ2dnp6fn6CgoKGhoqKjo6SkpKWlpqanp6eoqKmpqqqrq6usrK2trq6ur6+wsLGxsrKys7O0tLW1tba2t7e4uLm5ubq6u7u8vLy9vb6+v78AAQL+AAT+AAT+AAT+AAT+AAT+AAT+AATyAARVSRCjpKSlpV1JDKqrq6wuSQIIsbKyMkkCCLi5uTJJAvBJv8DAwcHCwsPDw8TExcXGxsbHx8jIycnKysrLy8zMzc3Nzs7Pz9DQ0dHR0tLT09TU1NXV1tbX19jY2NnZ2trb29vc3N3d3t7f39+JkgDikZIA5omSAOmRkgDtiZIE8PGNkgD0iZIE9/iNkgD7iZII/v//iZIIAgMDgZIEBQaNkgQJCoWSCAwNDYmSBBARhZIIExQUiZIEFxiFkhAaGxscHIGSAB6JkgwhIiIjhZIUJSYmJycogZMAKoWSACyJkiwvMDAxMTIyMzMzNDSBkgg2NzeJkgA6iZIAPZGSOEFCQkNDRERERUVGRkdHSIGTLEpKS0tLTExNTU5OT4GTUFFRUlJSU1NUVFVVVlZWV1dYWFlZWZGSAF2JkgxgYWFihZIUZGVlZmZngZM4aWlqamtra2xsbW1ubm5vjZJkcnNzdHR1dXV2dnd3eHh5eXl6ent7fHx8fX2Bkv4ACP4ACP4ACP4ACP4ACP4ACP4ACP4ACABgUUkAYzpJAgBqOkkCAHE6SQIAeDpJAkx/gICBgYKCg4ODhISFhYaGhoeHiMXbVIqLi4yMjY2Njo6Pj5CQkZGRkpKTk5TJ3BSXl5iYmJnF20CbnJydnZ6en5+foKChoaKiopGSHKanp6ioqampkZIcra6ur6+wsLCRkhy0tbW2tre3t5GSHLu8vL29vr6+kZIAwomSAMWRkgDJiZIAzJGSBNDRhZIA05GSBNfYhZIA2pGSCN7f34GSEiUJDiQJEiUJAOgWJQkOJAkSJQkA7xYlCQzy8vPzEiUJAPYWJQkM+fn6+hIlCQT9/RIlCYGSEiUJAASBk4mSAAiJkgALkZIAD4mSABKRkgAWiZIAGZGSAB2JkgAgkZIAJImSACeRkgAriZIALpGSEiUJADWBk4mSADmJkgA8iZL+AAT+AAT+AAT+AAT+AAT+AAT+AAT+AAQAIFFJxdzB201JxdzB201JxdzB2wA1ydsAODpJAgg/QEDJ2wBDydvF3AhJSUrB3MHbxdwIUFBRwdzB28XcwdsAWMnbCFtcXMnbAF+JksXcwdsAZsnbxdzB2wBtydsAcJGSEm4LAHfJ3MHbAHvJ2wB+kZIAgomSAIWRkgCJiZIAjJGSAJCJkgCTkZIAl4mSAJqRkgCeiZIAoZGSEiUJAKiBk4mSEiUJAK+Bk4mSALOJkgC2kZIAuomSAL2RkhIlCQDEFiUJDiQJEiUJAMsWJQkOJAkAz4mSEiUJDiQJANaJkhIlCQ4kCRIlCSK3DQDkgZMOJAkatw0A64GTDiQJAO6Rkja3DTz5+fn6+vv7/Pz8/f3+/v//',
  'zstd 1':
    'KLUv/QRI3R8AxDgAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/4ODg4eHi4uPj4+Tk5eXm5ufn5+jo6enq6urr6+zs7e3u7u7v7/Dw8fHx8vLz8/T09fX19vb39/j4+Pn5+vr7+/z8/P39/v7///8AAAEBAgIDAwMEBAUFBgYGBwcICAkJCgoKCwsMDA0NDQ4ODw8QEBERERISExMUFBQVFRYWFxcYGBgZGRoaGxsbHBwdHR4eHx8fICAhISIiIiMjJCQlJSYmJicnKCgpKSkqKisrLCwtLS0uLi8vMDAwMTEyMjMzNDQ0NTU2Njc3Nzg4OTk6Ojs7Ozw8PT0+Pj4/P0BAQUFCQkJDQ0RERUVFRkZHR0hISUlJSkpLS0xMTE1NTk5PT1BQUFFRUlJTU1NUVFVVVlZXV1dYWFlZWlpaW1tcXF1dXl5eX19gYGFhYWJiY2NkZGVlZWZmZ2doaGhpaWpqa2tsbGxtbW5ub29vcHBxcXJyc3NzdHR1dXZ2dnd3eHh5eXp6ent7fHx9fX1+fn9/gICBgYGCgoODhISEhYWGhoeHiIiIiYmKiouLi4yMjY2Ojo+Pj5CQkZGSkpKTk5SUlZWWlpaXl5iYmZmZmpqbm5ycnZ2dnp6fn6CgoKGhoqKjo6SkpKWlpqanp6eoqKmpqqqrq6usrK2trq6ur6+wsLGxsrKys7O0tLW1tba2t7e4uLm5ubq6u7u8vLy9vb6+v7+jqrG4v8DAwcHCwsPDw8TExcXGxsbHx8jIycnKysrLy8zMzc3Nzs7Pz9DQ0dHR0tLT09TU1NXV1tbX19jY2NnZ2trb29vc3N3d3t7f39/g4OHh4uLi5unt8PT3+/4CBQkMEBMXGh4hJSgsLzM2Oj1BREhLT1JWWV1gZGdrbnJ1eXxjanF4f4CAgYGCgoODg4SEhYWGhoaHh4iIiYmKioqLi4yMjY2Njo6Pj5CQkZGRkpKTk5SUlJWVlpaXl5iYmJmZmpqbm5ucnJ2dnp6fn5+goKGhoqKipqmtsLS3u77CxcnM0NPX2t7h5ejs7/P2+v0BBAgLDxIWGR0gJCcrLjI1OTwjKjE4Q0ZKTVFUWFtfYmZpbXB0d3t+goWJjJCTl5qeoaWorK+ztrq9wMDBwcHCwsPDxMTEyMvP0tbZ3eDk5+vu8vX5/P39/v7//4ClqFHw/divNcBzCukScCfYE6f5/2/NAQzv081VMpB9vtl2q4Npurj5YiM7mWzIOkzC6B2+cgbBbTtYMoth5qgS44YzQSYbit6hHdAh6Q6B+XwYZaoEbI4qOZs9bWQSiooQANA7fJ8K6B1aTQ09GGPZ',
  'zstd 19':
    'KLUv/QRoHR0AVDIAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/4ODg4eHi4uPj4+Tk5eXm5ufn5+jo6enq6urr6+zs7e3u7u7v7/Dw8fHx8vLz8/T09fX19vb39/j4+Pn5+vr7+/z8/P39/v7///8AAAEBAgIDAwMEBAUFBgYGBwcICAkJCgoKCwsMDA0NDQ4ODw8QEBERERISExMUFBQVFRYWFxcYGBgZGRoaGxsbHBwdHR4eHx8fICAhISIiIiMjJCQlJSYmJicnKCgpKSkqKisrLCwtLS0uLi8vMDAwMTEyMjMzNDQ0NTU2Njc3Nzg4OTk6Ojs7Ozw8PT0+Pj4/P0BAQUFCQkJDQ0RERUVFRkZHR0hISUlJSkpLS0xMTE1NTk5PT1BQUFFRUlJTU1NUVFVVVlZXV1dYWFlZWlpaW1tcXF1dXl5eX19gYGFhYWJiY2NkZGVlZWZmZ2doaGhpaWpqa2tsbGxtbW5ub29vcHBxcXJyc3NzdHR1dXZ2dnd3eHh5eXp6ent7fHx9fX1+fn9/gICBgYGCgoODhISEhYWGhoeHiIiIiYmKiouLi4yMjY2Ojo+Pj5CQkZGSkpKTk5SUlZWWlpaXl5iYmZmZmpqbm5ycnZ2dnp6fn6CgoKGhoqKjo6SkpKWlpqanp6eoqKmpqqqrq6usrK2trq6ur6+wsLGxsrKys7O0tLW1tba2t7e4uLm5ubq6u7u8vLy9vb6+v7+jqrG4v8DAwcHCwsPDw8TExcXGxsbHx8jIycnKysrLy8zMzc3Nzs7Pz9DQ0dHR0tLT09TU1NXV1tbX19jY2NnZ2trb29vc3N3d3t7f39/i5unt8PT3+/4CBQkMEBMXGh4hJSgsLzM2Oj1BREhLT1JWWV1gZGdrbnJ1eXxjanF4g4qRmJ+mrbS7vsLFyczQ09fa3uHl6Ozv8/b6/QEECAsPEhYZHSAkJysuMjU5PCMqMThDRkpNUVRYW19iZmltcHR3e36ChYmMkJOXmp6hpaisr7O2ur3BxMjLz9LW2d3g5Ofr7vL1gLmoofT9/1kDwNWodHIQBF8gnoxs//+pObqF9QCAAyoxYJZu75FC4dieLm4ntgFywmQn6UAofYenzRgMAAAIlJxyqAQ4gKPCfc5/pjw9/P9Qz8b9djxfc7+W2C9HJFO7b4wkMq3766JUMtSG6YTJTlYA/QPIUwG9Q4uoAT0YY9k=',
}

describe.each(WAYS)('%s', (name, pack, unpack) => {
  it('gives back what was packed', () => {
    fc.assert(
      fc.property(fc.oneof(content, fc.constant(far)), (bytes) => {
        const output = new Uint8Array(bytes.length)
        if (bytes.length === 0 && name === 'zstd') return
        expect(unpack(pack(bytes), output)).toBe(bytes.length)
        expect(Buffer.compare(output, bytes)).toBe(0)
      }),
      { numRuns: 150 },
    )
  })

  it.each(Object.entries(REAL).filter(([key]) => key.startsWith(name)))(
    'unpacks what the library in C packed (%s)',
    (_, packed) => {
      const output = new Uint8Array(4096)
      expect(unpack(Buffer.from(packed, 'base64'), output)).toBe(4096)
      expect(Buffer.compare(output, PAGE)).toBe(0)
    },
  )

  it('never writes more than there is room for, and says so', () => {
    const packed = pack(PAGE)
    for (const room of [0, 1, 100, 4095]) {
      const output = new Uint8Array(room + 8).fill(0xee)
      expect(unpack(packed, output.subarray(0, room))).toBeNull()
      expect([...output.subarray(room)]).toEqual(new Array(8).fill(0xee))
    }
  })

  it('says of every cut that it is damaged', () => {
    for (const packed of [pack(PAGE), Buffer.from(REAL[`${name} 1`]!, 'base64')])
      for (let length = 0; length < packed.length; length += 1 + (length >> 5))
        expect(unpack(packed.subarray(0, length), new Uint8Array(4096))).not.toBe(4096)
  })

  it('ends, whatever it is given', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { minLength: 1, maxLength: 4 }).map((changes) => {
            const bytes = Uint8Array.from(Buffer.from(REAL[`${name} 1`]!, 'base64'))
            for (const [at, value] of changes) bytes[at % bytes.length] = value
            return bytes
          }),
        ),
        (bytes) => {
          const written = unpack(bytes, new Uint8Array(4096))
          expect(written === null || (written >= 0 && written <= 4096)).toBe(true)
        },
      ),
      { numRuns: 1500 },
    )
  })
})

describe('copies of earlier output', () => {
  const literals = Array.from({ length: 2100 }, (_, index) => (index * 5) & 255)
  /** A run of 2100 literals: 18, then 2082 = 8 × 255 + 42. */
  const long = [0, ...new Array(8).fill(0), 42, ...literals]
  const lzo = (...codes: number[]) => {
    const output = new Uint8Array(2200)
    const written = unpackLzo(Uint8Array.from(codes), output)
    return written === null ? null : [...output.subarray(0, written)]
  }

  it('have forms of their own in LZO after literals', () => {
    // After a long run: 3 bytes from 2049 + D + 4 × H back, then S literals.
    expect(lzo(...long, 0b0101, 0, 99, 17, 0, 0)).toEqual([...literals, ...literals.slice(50, 53), 99])
    // After one to three literals: 2 bytes from 1 + D + 4 × H back.
    expect(lzo(...long, 0b0101, 0, 99, 0b0100, 3, 17, 0, 0)?.slice(-3)).toEqual([99, literals[2090], literals[2091]])
  })

  it('do not begin before the output does', () => {
    expect(lzo(18, 1, 0b0100_0000, 0, 17, 0, 0)).toEqual([1, 1, 1, 1])
    expect(lzo(18, 1, 0b0100_0100, 0, 17, 0, 0)).toBeNull()
    const snappy = (...codes: number[]) => unpackSnappy(Uint8Array.from(codes), new Uint8Array(8))
    expect(snappy(5, 0, 1, 0b001, 1)).toBe(5)
    expect(snappy(5, 0, 1, 0b001, 2)).toBeNull()
    expect(snappy(5, 0, 1, 0b001, 0)).toBeNull()
  })
})

describe('zstd frames that are made to take time', () => {
  /** 98,047 sequences of 65,539 bytes each, in a block of nine bytes (RFC 8878, 3.1.1.3.2: all three codes are repeated ones). */
  const block = [0, 255, 255, 255, 0x54, 0, 0, 52, 1]
  const frame = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x60, 0, 15, 1 | (2 << 1) | (block.length << 3), 0, 0, ...block)

  it('are refused at once', async () => {
    expect(zstd(frame, new Uint8Array(4096))).toBeNull()
    await expect((async () => [...(await zstdStream([frame]))])()).rejects.toThrow(/invalid data/)
  })

  it('cannot ask for a window of gigabytes', async () => {
    // Window descriptor 0xa8: 2^31 bytes.
    const wide = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 1 | (1 << 1) | (8 << 3), 0, 0, 7)
    await expect((async () => [...(await zstdStream([wide]))])()).rejects.toThrow(/invalid data/)
  })
})
