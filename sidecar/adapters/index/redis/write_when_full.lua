-- Run the commands that deleting events needs, even on a server whose memory is full.
-- ARGV: time to live, then the commands, each preceded by its number of words. Returns their replies.
-- A full server refuses commands that need memory, unless the script has written before: that is the first command's
-- use.
call('PEXPIRE', p .. 'n', ttl)
local replies = {}
while ARGV[at] do
  local words = number()
  replies[#replies + 1] = call(unpack(ARGV, at, at + words - 1))
  at = at + words
end
return replies
