-- Shared beginning of every script of the index. KEYS[1]: prefix of all keys of one shard. ARGV[1]: time to live in
-- milliseconds for the keys that the script writes.
local p, ttl, at = KEYS[1], ARGV[1], 2
local call, sub, byte = redis.call, string.sub, string.byte
local touched = {}
-- The next argument, as a number.
local function number()
  at = at + 1
  return tonumber(ARGV[at - 1])
end
-- Call a command with the next `count` arguments, 1,000 at a time. Returns the sum of the replies.
local function many(command, key, count)
  local done = 0
  for first = at, at + count - 1, 1000 do
    done = done + call(command, key, unpack(ARGV, first, math.min(first + 999, at + count - 1)))
  end
  at = at + count
  return done
end
-- Extend the life of a key, once in each call.
local function extend(key)
  if not touched[key] then
    touched[key] = true
    call('PEXPIRE', key, ttl)
  end
end
